package torture

import (
	"path"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// shot is a moment to cut a region's power at: just before one of its operations on the file system.
type shot struct {
	name string
	// early shots come while the store is opened, others under load.
	early bool
	// match says which operations count; nil: all.
	match func(op errorfs.Op) bool
	// upTo is the highest number of the operation among those that count.
	upTo int
}

// lasts reports whether the load goes on for long before the shot.
func (s *shot) lasts() bool { return s.name == shotTruncation }

func on(file func(name string) bool, kinds ...errorfs.OpKind) func(errorfs.Op) bool {
	return func(op errorfs.Op) bool {
		for _, k := range kinds {
			if op.Kind == k {
				return file(path.Base(op.Path))
			}
		}
		return false
	}
}

func ending(ends ...string) func(string) bool {
	return func(name string) bool {
		for _, end := range ends {
			if strings.HasSuffix(name, end) {
				return true
			}
		}
		return false
	}
}

func beginning(begin string) func(string) bool {
	return func(name string) bool { return strings.HasPrefix(name, begin) }
}

var syncs = []errorfs.OpKind{errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo}

// Names of the shots that the harness does something for.
const (
	shotRemoval    = "removal of a large set"
	shotTruncation = "truncation of the log"
	shotStop       = "orderly stop"
	shotTime       = "any moment"
	shotOpening    = "opening"
	shotReady      = "first operations once ready"
)

// shots are all kinds of moments of one region.
func shots() []shot {
	table, log := ending(".sst", ".blob"), ending(".log")
	return []shot{
		{name: shotOpening, early: true, upTo: 90},
		{name: "opening: log file begun", early: true, match: on(log, errorfs.OpCreate, errorfs.OpReuseForWrite), upTo: 1},
		{name: "opening: table synced", early: true, match: on(table, syncs...), upTo: 1},
		{name: "opening: manifest", early: true, match: on(beginning("MANIFEST"), errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileSync), upTo: 4},
		{name: "opening: marker moved", early: true, match: on(beginning("marker."), errorfs.OpCreate, errorfs.OpFileSync, errorfs.OpRemove), upTo: 4},
		{name: shotReady, upTo: 10},
		{name: shotTime},
		{name: "any operation", upTo: 400},
		{name: "log written", match: on(log, errorfs.OpFileWrite), upTo: 60},
		{name: "log synced", match: on(log, syncs...), upTo: 60},
		{name: "log file begun", match: on(log, errorfs.OpCreate, errorfs.OpReuseForWrite), upTo: 3},
		{name: "table begun", match: on(table, errorfs.OpCreate), upTo: 3},
		{name: "table written", match: on(table, errorfs.OpFileWrite), upTo: 20},
		{name: "table synced", match: on(table, syncs...), upTo: 3},
		{name: "manifest written", match: on(beginning("MANIFEST"), errorfs.OpFileWrite), upTo: 3},
		{name: "manifest synced", match: on(beginning("MANIFEST"), syncs...), upTo: 3},
		{name: "witness written", match: on(beginning("WITNESS"), errorfs.OpFileWriteAt), upTo: 60},
		{name: "witness synced", match: on(beginning("WITNESS"), syncs...), upTo: 2},
		{name: "file deleted", match: on(func(string) bool { return true }, errorfs.OpRemove), upTo: 4},
		{name: "folder synced", match: on(beginning("data"), errorfs.OpFileSync), upTo: 4},
		{name: shotRemoval, upTo: 30},
		{name: shotTruncation, upTo: 12},
		{name: shotStop, upTo: 25},
	}
}
