// Package pathspec owns the text form of paths and fields: in a map a field is NAME:TYPE, and fields
// on the way down are joined with a slash.
//
//	address:map/city:register-lww
//	a%2Fb:counter                     the counter named a/b
//
// Within a name a slash, a colon, a percent sign and every byte that is not part of UTF-8 text are
// written %XX, two hexadecimal digits. Any byte may be written so, which makes names binary-safe.
//
// It does not know what may lie below what: package crdt checks paths.
//
// # Invariants
//
//  1. Parse of what Format gave is the same path, for every path of registered types.
//  2. Format gives one text for one path, and that text is valid UTF-8.
package pathspec
