package crdt

import "github.com/theriac-db/theriac/kv"

// SetAW is a set of byte strings; add wins over a concurrent remove.
//
// Operations: add and remove an element, reset.
//
// Concurrency: each element is a flag-ew below the set, enabled by add and disabled by remove. A
// reset removes the elements that it has seen. Operations on different elements never meet.
//
// Encoding: the path step (element, flag-ew); the operations are the flag's.
//
// Source: Bieniusa et al., An Optimized Conflict-free Replicated Set (INRIA RR-8083, 2012), for the
// rule; Brown et al., Big(ger) Sets (PaPoC 2016), for keeping elements apart.
const SetAW kv.Type = 6

func init() { register(SetAW, definition{name: "set-aw", element: FlagEW}) }
