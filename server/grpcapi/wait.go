package grpcapi

import (
	"context"
	"time"

	"github.com/theriac-db/theriac/kv"
)

// What of a call's deadline the waits for a token, a level and other regions' disks leave to the rest of
// the call and to the answer's way:
// the client's deadline runs on its own clock, and an answer that comes after it tells nobody anything,
// of a write not even that nothing was written. It has to be more than a round trip, which nobody here knows.
const (
	answerPart = 4               // one in so many parts of what is left of the deadline
	maxLeft    = 1 * time.Second // no more than this, which is a long round trip
)

// leaveTime bounds what a call may wait for, if there is anything, so that "stale" is heard in time, and of a
// write that it is applied. Levels and durabilities that are left open may be any, by the buckets' rules.
func leaveTime(ctx context.Context, o *kv.Options) {
	atOnce := o.Level == kv.LevelEventual || o.Level == kv.LevelCausal && len(o.Token.Seen) == 0
	here := o.Durability == kv.DurabilityApplied || o.Durability == kv.DurabilityLocal
	deadline, ok := ctx.Deadline()
	if !ok || atOnce && here {
		return
	}
	left := time.Until(deadline)
	leave := min(left/answerPart, maxLeft)
	if !here {
		o.Leave = leave
	}
	// A deadline that has passed leaves nothing: 0 would mean no bound.
	if wait := max(left-leave, time.Nanosecond); !atOnce && (o.Wait == 0 || wait < o.Wait) {
		o.Wait = wait
	}
}
