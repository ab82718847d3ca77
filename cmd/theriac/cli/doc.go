// Package cli owns the theriac command: its tree of subcommands, what they print, and its exit codes.
//
// It reaches a database only through kv.Service (over the network through package client) and a node
// only through the function that App.Serve is given. It holds no rule of a data type: operations go
// to package crdt for validation before anything is sent.
//
// Answers go to stdout, everything else (errors, hints, progress, receipts) to stderr. Output is
// deterministic: the same answer prints the same bytes.
//
// # Invariants
//
//  1. Whatever can be refused without the database is refused before a connection is made.
//  2. A failed command says in its exit code, and on stderr, whether its write may have happened.
//  3. The session's file, where there is one, holds a token that includes every answer printed so
//     far; it is replaced whole or not at all.
//  4. An import under one id writes each operation of its file once, however often it is interrupted
//     and repeated: how far it got is part of each transaction.
//  5. Memory is bounded by pages and batches, not by the size of a set, a bucket or a file.
package cli
