package crdt

import "github.com/theriac-db/theriac/kv"

// SetRW is a set of byte strings; remove wins over a concurrent add.
//
// Operations: add and remove an element, reset.
//
// Concurrency: each element is a flag-dw below the set, enabled by add and disabled by remove. A
// reset takes back what it has seen and lets concurrent adds live, so it is not the same as
// removing every element.
//
// Encoding: the path step (element, flag-dw); the operations are the flag's.
//
// Source: Baquero et al., arXiv 1710.04469, section 4 (remove-wins set); Brown et al., Big(ger) Sets
// (PaPoC 2016), for keeping elements apart.
const SetRW kv.Type = 7

func init() { register(SetRW, definition{name: "set-rw", element: FlagDW}) }
