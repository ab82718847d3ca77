package crdt

import "github.com/theriac-db/theriac/kv"

// SetGO is a set of byte strings that only grows.
//
// Operations: add an element; reset of the whole set. No element is removed alone.
//
// Concurrency: each element is a flag-ew below the set. A reset of the set, or of a map around it,
// takes back the adds that it has seen, so their dots are kept until settled like those of any leaf.
//
// Encoding: the path step (element, flag-ew); the operations are the flag's.
//
// Source: Shapiro et al., INRIA RR-7506 (2011), specification 11 (G-Set). We differ in the reset.
const SetGO kv.Type = 8

func init() { register(SetGO, definition{name: "set-go", element: FlagEW, growOnly: true}) }
