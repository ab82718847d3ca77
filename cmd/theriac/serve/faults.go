package serve

import (
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/node"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/storage"
	"github.com/theriac-db/theriac/storage/quota"
)

// faults makes this node ill, with --test-faults. It is the node's clock and file system then.
type faults struct {
	replication.Time
	disk   *quota.FS
	offset atomic.Int64 // of the wall clock, nanoseconds
}

func newFaults() *faults {
	return &faults{Time: replication.SystemTime(), disk: quota.New(storage.SystemFS())}
}

// Wall implements replication.Time.
func (f *faults) Wall() clock.Wall { return f.Time.Wall().Add(time.Duration(f.offset.Load())) }

// SetClock implements admin.Faults.
func (f *faults) SetClock(offset time.Duration) { f.offset.Store(int64(offset)) }

// Clock implements admin.Faults.
func (f *faults) Clock() time.Time { return f.Wall().Time() }

// SetRoom implements admin.Faults.
func (f *faults) SetRoom(bytes int64) { f.disk.SetRoom(bytes) }

// faultsOn is what log, pages and metrics say of a node that can be made ill.
const faultsOn = "test faults are on: whoever reaches the admin port can set this node's clock and fill its disk; never start a node that matters with --test-faults"

// ailing adds that to the node's own warnings.
type ailing struct{ *node.Node }

// Warnings implements admin.Health.
func (a ailing) Warnings() []string { return append(a.Node.Warnings(), faultsOn) }
