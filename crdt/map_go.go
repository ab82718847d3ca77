package crdt

import "github.com/theriac-db/theriac/kv"

// MapGO is a map whose fields are never removed alone.
//
// Operations: those of the fields, addressed by a path; reset of the whole map. A reset of a field is
// refused; within a field everything that its type allows is allowed.
//
// Concurrency: as for Map.
//
// Encoding: the path step (name, type).
//
// Source: as for Map; the grow-only map of antidote_crdt (antidote_crdt_map_go) for the restriction.
const MapGO kv.Type = 10

func init() { register(MapGO, definition{name: "map-go", fields: true, growOnly: true}) }
