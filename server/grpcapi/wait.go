package grpcapi

import (
	"context"
	"time"

	"github.com/theriac-db/theriac/kv"
)

// What of a call's deadline the wait for a token, or for what a level asks for, leaves to the rest of the call and to the answer's way:
// the client's deadline runs on its own clock, and an answer that comes after it tells nobody anything,
// of a write not even that nothing was written. It has to be more than a round trip, which nobody here knows.
const (
	answerPart = 4               // one in so many parts of what is left of the deadline
	maxLeft    = 1 * time.Second // no more than this, which is a long round trip
)

// leaveTime bounds the wait for the token, if there is one, and for what the level asks for, so that "stale"
// is heard in time.
func leaveTime(ctx context.Context, o *kv.Options) {
	if len(o.Token.Seen) == 0 && (o.Level == kv.LevelEventual || o.Level == kv.LevelCausal) {
		return
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return
	}
	left := time.Until(deadline)
	// A deadline that has passed leaves nothing: 0 would mean no bound.
	wait := max(left-min(left/answerPart, maxLeft), time.Nanosecond)
	if o.Wait == 0 || wait < o.Wait {
		o.Wait = wait
	}
}
