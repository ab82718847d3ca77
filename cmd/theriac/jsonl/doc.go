// Package jsonl owns the JSON Lines of export and import: one object, or a part of one, a line.
//
//	{"bucket":"b","key":"bash","type":"map","value":{"Version:register-lww":"5.2","Depends:set-aw":["libc6"]}}
//
// docs/formats/jsonl.md describes the format. The package turns objects into lines, lines into
// objects, and objects into the operations that write them; it does no I/O beyond reading lines from
// a reader it is given, and knows nothing of transactions or progress.
//
// # Invariants
//
//  1. Decode of what Append gave is the same object and value, for every value that a database
//     returns; and Append gives one text for one value.
//  2. Decode refuses what it does not understand (unknown or repeated keys, other types' values,
//     text that is not UTF-8) instead of guessing.
//  3. Pieces that Split gives add up to the whole when they are written one after the other, and the
//     values of a register-mv stay in one piece.
package jsonl
