package node

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/causal"
	"github.com/theriac-db/theriac/storage"
)

// Addresses are where others reach a node, HOST:PORT each; empty where there is no such door.
type Addresses = kv.Addresses

// Config says what a node is and what it may use. Region, Dir and Transport are required.
type Config struct {
	// Region is the region's name: 1 to MaxRegionName of a-z, 0-9 and "-".
	Region string
	// AnyRegion says that Region is only what a new region is called: a folder of another one keeps its
	// name. Default: such a folder is refused.
	AnyRegion bool
	// Dir is the data folder; created when missing.
	Dir string
	// Join lists peer or client addresses of nodes of the cluster to join, for a node without data. Empty:
	// a node without data founds a cluster. A node with data asks them whose they are, and does not start
	// where all that answer are of another cluster.
	Join []string
	// Gone names regions that are gone for good, for which neither recovery nor, if it is asked, a
	// region that joins need wait; those that had not finished joining are abandoned. What only they
	// knew of this region's writes is lost.
	Gone []string
	// Addresses are this node's own, as others should dial them.
	Addresses Addresses
	// Transport reaches the peers.
	Transport replication.Transport

	// Membership finds the addresses of other nodes. Nil: only those that are known from joining and
	// from the streams.
	Membership Membership

	// FS is the file system. Default: the operating system's.
	FS storage.FS
	// Time is the clock and the timers. Default: the machine's.
	Time replication.Time
	// Random draws random bits. Default: the runtime's generator.
	Random func() uint64
	// Skew is how far ahead of the own wall clock another region's timestamps may be before its
	// stream pauses. Default 500 ms, range 1 ms to 1 h. Size it well above the error of the
	// machines' time synchronisation: a pause is an outage of that stream.
	Skew time.Duration
	// LogAge is how long log records are kept at least. Default 1 h.
	LogAge time.Duration
	// LogBytes is the size of a lane's log beyond which records are dropped before LogAge, once every
	// region has them. Default 1 GiB.
	LogBytes int64
	// LogLimit is the size of the log, all lanes together, beyond which the oldest records are dropped
	// although some region lacks them: that region copies all data anew when it is back. Only what a
	// majority of the regions has on its disk is dropped. Size it as the bytes written in the longest
	// time that a region should be able to be away, within what the disk has to spare. Default
	// 64 GiB, or LogBytes if that is more; NoLogLimit: none.
	LogLimit int64
	// CacheBytes is the size of Pebble's block cache, LeafCacheBytes that of the cache of leaves,
	// MemTableBytes that of a memtable. Defaults and sizing: storage.Config.
	CacheBytes, LeafCacheBytes, MemTableBytes int64
	// RemovalLeaves is how many leaves one step of a removal looks at. Default: storage.RemovalLeaves.
	RemovalLeaves int
	// RaftSnapshotEntries is after how many entries of raft's log a snapshot is written. Default:
	// strong.DefaultSnapshotEntries.
	RaftSnapshotEntries int
	// Core is given what decides what this node shows, each time that its store has been opened, and returns
	// what is asked in its place: a simulation sees each call by it. Default: the machine itself.
	Core func(start causal.Start, m *causal.Machine) replication.Core
	// Log takes log lines. Default: dropped.
	Log io.Writer
	// Fatal is told once why the node takes no more writes. It must not block. Default: nothing.
	Fatal func(error)
}

// MaxRegionName bounds a region's name, in bytes.
const MaxRegionName = replication.MaxName

// Defaults of Config.
const (
	DefaultLogAge   = time.Hour
	DefaultLogBytes = 1 << 30
	DefaultLogLimit = 64 << 30
	// NoLogLimit as a LogLimit lets the log grow for a region that is away, as far as the disk goes.
	NoLogLimit = -1
)

func (c Config) withDefaults() (Config, error) {
	if err := replication.CheckName(c.Region); err != nil {
		return c, err
	}
	if c.Dir == "" || c.Transport == nil {
		return c, kv.Errorf(kv.KindInvalid, "node: a data folder and a transport are needed")
	}
	if c.Time == nil {
		c.Time = replication.SystemTime()
	}
	if c.Random == nil {
		c.Random = rand.Uint64
	}
	if c.Skew == 0 {
		c.Skew = causal.DefaultMaxSkew
	}
	if c.LogAge == 0 {
		c.LogAge = DefaultLogAge
	}
	if c.LogBytes == 0 {
		c.LogBytes = DefaultLogBytes
	}
	switch c.LogLimit {
	case 0:
		c.LogLimit = max(DefaultLogLimit, c.LogBytes)
	case NoLogLimit:
		c.LogLimit = 0
	}
	if c.Log == nil {
		c.Log = io.Discard
	}
	if c.Fatal == nil {
		c.Fatal = func(error) {}
	}
	return c, nil
}

// maxLine bounds a line in the log, in bytes: a store's error may quote much, and peers have a hand in some.
const maxLine = 8 << 10

func (c *Config) logf(format string, args ...any) {
	line := replication.OneLine(fmt.Sprintf(format, args...), maxLine)
	fmt.Fprintf(c.Log, "%s %s: %s\n", c.Time.Wall().Time().Format("2006-01-02T15:04:05.000Z"), c.Region, line)
}
