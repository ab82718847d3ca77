// Package api holds the protocol buffers of theriac, one folder and version each: theriac/v1 is the
// client API. The .proto files are the reference, every field documented; the generated code beside
// them is committed.
//
// It is responsible for the messages' shape and for translating them to the nouns of package kv and
// back (theriac/v1/convert). It knows no server, client or network code.
//
// # Invariants
//
//  1. Numbers of fields, enum values and methods are never reused.
//  2. The numbers of types, levels, durabilities, kinds and outcomes are those of package kv and of
//     the registered types.
//  3. Translating a noun to a message and back gives the same noun, but for empty slices, which may
//     come back as nil.
package api

//go:generate sh generate.sh
