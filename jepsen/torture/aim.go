package torture

import (
	"math/rand/v2"
	"strings"
	"time"
)

// Aim is a kind of moment to kill a process at.
type Aim struct {
	Name string
	// Early aims come before the node is ready: no load runs.
	Early bool
	// Event is what the process does in its folder that the moment follows; nil: it follows the start of
	// the process (early aims), or that of the load.
	Event func(fileEvent) bool
	// After draws how long after that.
	After func(random *rand.Rand) time.Duration
	// Slow aims take long: they are drawn seldom.
	Slow bool
}

// fileEvent is something that happened to a file of a node's folder.
type fileEvent struct {
	name string
	what fileDeed
}

type fileDeed uint8

const (
	fileOpened fileDeed = iota + 1
	fileCreated
	fileChanged
	fileRemoved
)

// AimReady follows the ready line, AimRemoval the sending of a removal, AimStop the signal to stop.
const (
	AimReady   = "ready"
	AimRemoval = "removal of a large set"
	AimStop    = "orderly stop"
)

// truncation is when a node truncates its log for the first time after its start: every 10 s.
const truncation = 10 * time.Second

func within(d time.Duration) func(*rand.Rand) time.Duration { return between(0, d) }

func between(from, to time.Duration) func(*rand.Rand) time.Duration {
	return func(random *rand.Rand) time.Duration { return from + time.Duration(random.Int64N(int64(to-from))) }
}

func is(what fileDeed, parts ...string) func(fileEvent) bool {
	return func(e fileEvent) bool {
		for _, part := range parts {
			if e.what == what && strings.Contains(e.name, part) {
				return true
			}
		}
		return false
	}
}

// Aims are all kinds of moments, in the order in which they are gone through.
func Aims() []Aim {
	return []Aim{
		{Name: "load", After: between(time.Millisecond, 80*time.Millisecond)},
		{Name: "start", Early: true, After: within(25 * time.Millisecond)},
		{Name: "opening", Early: true, Event: is(fileOpened, "LOCK"), After: within(15 * time.Millisecond)},
		{Name: "replay of the log", Early: true, Event: is(fileOpened, ".log"), After: within(2 * time.Millisecond)},
		{Name: "new manifest", Early: true, Event: is(fileCreated, "MANIFEST", "marker.manifest"), After: within(2 * time.Millisecond)},
		{Name: AimReady, Early: true, After: within(3 * time.Millisecond)},
		{Name: "table written", Event: is(fileCreated, ".sst", ".blob"), After: within(5 * time.Millisecond)},
		{Name: "log file begun", Event: is(fileCreated, ".log"), After: within(time.Millisecond)},
		{Name: "file deleted", Event: is(fileRemoved, ".sst", ".log", ".blob"), After: within(time.Millisecond)},
		{Name: "witness written", Event: is(fileChanged, "WITNESS"), After: within(300 * time.Microsecond)},
		{Name: "rewrites", After: func(random *rand.Rand) time.Duration {
			// The cuts that rewrites go by move ten times a second.
			return time.Duration(1+random.IntN(3))*100*time.Millisecond + time.Duration(random.Int64N(int64(15*time.Millisecond)))
		}},
		{Name: AimRemoval, After: within(8 * time.Millisecond)},
		{Name: AimStop, After: within(15 * time.Millisecond)},
		{Name: "truncation of the log", After: between(truncation-30*time.Millisecond, truncation+50*time.Millisecond), Slow: true},
	}
}
