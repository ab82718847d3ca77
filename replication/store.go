package replication

import (
	"context"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Store is what replication needs of the node's store. Methods are called from several goroutines
// at once and may block on the disk.
type Store interface {
	Meta
	// Apply hands consecutive records of one lane to the store's writer, behind everything handed
	// over before, and returns before they are written. It blocks while the writer's queue is full.
	// An error means that the batch was not taken and neither function of it will be called.
	// The batch belongs to the store until its Durable has been called.
	Apply(ctx context.Context, b *Batch) error
	// SyncSoon has the batches taken so far on disk without the delay that the store may leave between
	// Applied and Durable. It does not block.
	SyncSoon()
	// Log returns encoded records of a lane with timestamps above after, in order, whole, at least
	// one if there is any, and no more once they hold maxBytes. It matches kv.ErrTooOld when the
	// log has been truncated beyond after. The slices belong to the caller.
	Log(lane clock.Lane, after clock.Timestamp, maxBytes int) ([][]byte, error)
	// ReadRange returns what a shard's leaves hold that is visible at the cut, behind a cursor (nil:
	// from the beginning), about maxBytes of it, and the next cursor (nil: that was all). The bytes
	// are opaque to replication and belong to the caller.
	ReadRange(ctx context.Context, shard int, after []byte, at clock.Vector, maxBytes int) (data, next []byte, err error)
	// Short notes durably that the own lane may lack records which others hold; a start after it
	// recovers. Recovered takes it back.
	Short(ctx context.Context, reason string) error
	Recovered(ctx context.Context) error
	// ReadState returns what a bootstrap needs beside leaves, such as void intervals.
	ReadState(ctx context.Context) ([]byte, error)
}

// Loader takes a bootstrap. Its methods are called by Join, in the order below, from one goroutine,
// before the store serves anything.
type Loader interface {
	Meta
	// LoadBegin empties the store of leaves, applied positions and all logs but those of the lanes to
	// keep, durably; metadata set with SetMeta stays.
	LoadBegin(ctx context.Context, keep ...clock.Lane) error
	// LoadRange writes what ReadRange of another store returned.
	LoadRange(ctx context.Context, shard int, data []byte) error
	// LoadEnd writes what ReadState of another store returned, and the applied vector, one position
	// a lane. Then it applies what the logs kept hold beyond that. All is durable when it returns.
	LoadEnd(ctx context.Context, state []byte, applied map[clock.Lane]clock.Timestamp, keep ...clock.Lane) error
}

// Meta is a small durable map for what replication must remember.
type Meta interface {
	// Meta returns a value, nil where there is none. The slice belongs to the caller.
	Meta(key string) ([]byte, error)
	// SetMeta sets a value, durably when it returns.
	SetMeta(ctx context.Context, key string, value []byte) error
}

// Incoming is a record as it came from a peer.
type Incoming struct {
	Record  *kv.Record // decoded; aliases Encoded
	Encoded []byte     // as its origin wrote it
}

// Batch is a run of consecutive records of one lane on their way into the store.
type Batch struct {
	Lane    clock.Lane
	Records []Incoming
	// Sync says that somebody waits until it is on disk, so that the store should not delay that.
	Sync bool
	// Applied is called on the store's writer goroutine, batches in the order of Apply, once the
	// records can be read here. It does not block.
	Applied func()
	// Durable is called on the store's syncer goroutine, in order, once they are on disk, or with
	// the error that kept them from it; Applied has been called before, except after an error. It
	// does not block.
	Durable func(error)
}
