package crdt

import "github.com/theriac-db/theriac/kv"

// Map maps (name, type) to a value of that type, which may be a map again; update wins over a
// concurrent remove, recursively.
//
// Operations: those of the fields, addressed by a path; reset of a field or of the whole map, which
// removes.
//
// Concurrency: every leaf below is on its own. A field is present while a leaf below it is. A reset
// covers, in every leaf below, what it has seen, and nothing else, so a concurrent update lives and
// brings its field back with that update only. Fields of one name and different types are
// different fields.
//
// Encoding: the path step (name, type).
//
// Source: Brown, Cribbs, Meiklejohn, Elliott: Riak DT Map (PaPoC 2014), for the rule; Baquero et
// al., arXiv 1710.04469, for the form.
const Map kv.Type = 9

func init() { register(Map, definition{name: "map", fields: true}) }
