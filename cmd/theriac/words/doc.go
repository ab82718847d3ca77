// Package words owns how bytes are printed as words of a line, and how lines are split into words:
// the syntax of `theriac txn` files and of table output.
//
// A word is bare, or in double quotes with the escapes \\ \" \n \r \t and \xHH. It knows nothing of
// what words mean.
//
// # Invariants
//
//  1. Split of words that Quote made, with blanks between them, gives the same words: any bytes.
//  2. Quote and Text never give a line break nor bytes that are not UTF-8, so a line stays a line.
package words
