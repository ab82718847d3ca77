// Command indexdigest computes, from a Debian package index alone, the digest that theriac must show
// for the bucket once all parts that converter makes of that index are imported.
//
//	indexdigest [--bucket debian] [--limit N] [FILE|-]
//
// It prints the digest in hexadecimal and the number of objects. It is the second opinion: written
// from docs/formats/digest.md and from converter's description, it shares no code with converter nor
// with the database, and imports neither.
package main
