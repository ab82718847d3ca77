package kv

import (
	"context"
	"time"

	"github.com/theriac-db/theriac/clock"
)

// TxnID names an open interactive transaction of one node. It means nothing on another node.
type TxnID uint64

// Begin opens an interactive transaction.
type Begin struct {
	Options  Options
	ReadOnly bool // a write is refused; the snapshot holds nobody's stability back
	// ByDefault tells that the level is that of buckets' defaults, as NeedsOf told it, and that no caller named
	// it: buckets whose default is stronger are refused, as they are without a level.
	ByDefault bool
}

// KeysRequest lists the objects of a bucket, in the order of (key, type).
type KeysRequest struct {
	Txn     TxnID   // the open transaction at whose snapshot to list; 0: a snapshot of its own
	Options Options // when Txn is 0
	Bucket  Bucket
	Prefix  Key
	After   []byte // Next of the page before; empty for the first
	Limit   int    // 1 to MaxPage
}

// KeysPage is one page of a listing.
type KeysPage struct {
	Objects []Object
	Next    []byte // cursor of the next page; empty when this was the last
	Receipt Receipt
}

// BucketsRequest lists the buckets that exist, in the order of their names.
type BucketsRequest struct {
	After []byte // Next of the page before; empty for the first
	Limit int    // 1 to MaxPage
}

// BucketsPage is one page of them. Pages are of no one snapshot: a bucket that appears between two may
// be missed. One that is there all the time is listed.
type BucketsPage struct {
	Buckets []Bucket
	Next    []byte // cursor of the next page; empty when this was the last
}

// OutcomeRequest asks what became of an operation whose answer got lost.
type OutcomeRequest struct {
	Attempt Attempt // ID, Age and Lane are used
}

// OutcomeAnswer says it. An answer "not applied" also makes sure that it never will be.
type OutcomeAnswer struct {
	Outcome Outcome     // NotApplied or Applied
	Commit  clock.Stamp // when applied
	Token   Token       // includes Commit
}

// DigestRequest asks for a digest of readable content at one snapshot.
type DigestRequest struct {
	Options Options
	Bucket  Bucket // empty: all buckets
}

// Digest of the readable content: equal in two regions exactly if their content is (but for
// collisions of 128 bits of SHA-256).
type Digest struct {
	Sum     [16]byte
	Objects int64
	Receipt Receipt
}

// Addresses are where others reach a node, HOST:PORT each; empty where there is no such door.
type Addresses struct {
	Client, Peer, Gossip, Admin string
}

// RegionStatus is what a node knows of a region.
type RegionStatus struct {
	Region    clock.Region
	Name      string
	Addresses []string // client addresses of its nodes
	Connected bool     // there is a live stream to it (true for the own region)
	Exposed   clock.Timestamp
	Lag       time.Duration // how far what this node exposes of it is behind the wall clock; 0 for its own
	Reported  clock.Vector  // what it last reported as exposed and on its disk

	// Staleness is the age of what readers here miss of it at most, by this node's own clock; 0 for its own.
	Staleness      time.Duration
	StalenessP99   time.Duration // of the last minutes
	StalenessKnown bool          // false: nothing was heard of it yet, and both are 0

	// Phase is how far it is in its life: joining, serving, fenced (it is being removed), or removed (and not all
	// that it left is here yet); empty: not known yet.
	Phase string
	// Awaits are the regions that must first say what they hold of one that is fenced.
	Awaits []string
}

// LevelStatus says whether a node can serve a level now.
type LevelStatus struct {
	Level Level
	OK    bool
	Why   string // it can't, for people; empty if it can
}

// Status is what a node says of itself and the cluster.
type Status struct {
	Cluster     ClusterID
	Region      string
	Lane        clock.Lane
	Incarnation uint64
	Addresses   Addresses
	Version     string
	State       string // "serving", "recovering: …" or "read-only: …"
	Exposed     clock.Vector
	Durable     clock.Vector
	Stable      clock.Vector
	Settled     clock.Vector
	Horizon     clock.Vector
	Regions     []RegionStatus
	Levels      []LevelStatus // one for each level, in their order
	Leader      string        // name of the region whose voter leads the certification; empty: none is known
	Strong      string        // this node's part in it: "leader", "follower", "learner", or why it has none
	OpenTxns    int
	LogBytes    int64 // held in the log of all lanes
	Pending     int   // removals still being carried out
}

// Reading is what a retry of a first try that is sent from now on may name (Attempt.After).
func (s *Status) Reading() clock.Timestamp { return reading(s.Exposed, s.Lane) }

// Certified is what tries at level strong that are sent from now on may name (Attempt.After).
func (s *Status) Certified() clock.Timestamp { return reading(s.Exposed, clock.Lane{}) }

// DropRequest asks that a bucket be dropped.
type DropRequest struct {
	Bucket Bucket
	// WithData drops it though it holds objects. Without, such a bucket is refused.
	WithData bool
	Token    Token
	Wait     time.Duration // for what has to be here before anything is decided, as Options.Wait; 0: as long as the call
}

// DroppedBucket says what became of a bucket.
type DroppedBucket struct {
	Generation uint32  // of the keys that may be written to it from now on
	Receipt    Receipt // its token includes the drop
}

// Service is what a node offers to its clients, whichever door they come through. Every error is an
// *Error (or wraps one). Implementations are safe for concurrent use; every call may block until
// its context ends. Slices in requests are not kept; slices in answers belong to the caller.
type Service interface {
	// Do runs a one-shot transaction.
	Do(ctx context.Context, req Request) (Response, error)
	// Begin opens an interactive transaction. It ends by Commit, Abort, or by itself when unused
	// for longer than limits allow.
	Begin(ctx context.Context, b Begin) (TxnID, Receipt, error)
	// Execute buffers the operations, then runs the queries, which see all of the transaction's own
	// operations so far. If an operation is refused, none of this call's is buffered, and the
	// transaction goes on.
	Execute(ctx context.Context, id TxnID, ops []Op, queries []Query) ([]Value, error)
	// Commit writes what was buffered. Options give durability and attempt; level and token are
	// those of Begin.
	Commit(ctx context.Context, id TxnID, o Options) (Receipt, error)
	// Abort ends a transaction without writing. Ending one that is gone is not an error.
	Abort(ctx context.Context, id TxnID) error
	Keys(ctx context.Context, req KeysRequest) (KeysPage, error)
	Outcome(ctx context.Context, req OutcomeRequest) (OutcomeAnswer, error)
	Digest(ctx context.Context, req DigestRequest) (Digest, error)
	Status(ctx context.Context) (Status, error)
	// Buckets lists the buckets that exist but for the reserved ones.
	Buckets(ctx context.Context, req BucketsRequest) (BucketsPage, error)
	// CreateBucket decides the rules of a bucket that has none, in the raft group: a majority of the regions
	// must be reached. Generation and Created are not the caller's to say. When it returns, the calls of this
	// node that begin are judged by them.
	CreateBucket(ctx context.Context, rules BucketRules) (DecidedRules, error)
	// AlterBucket replaces the rules of a bucket. since is that of the rules that these were made from, or 0:
	// whatever they are. If they have changed since, it fails with KindAborted.
	AlterBucket(ctx context.Context, rules BucketRules, since uint64) (DecidedRules, error)
	// DropBucket takes a bucket's rules away, if it has any, and all that it holds, in the raft group. Every snapshot
	// that includes the drop finds the bucket empty; what is written at one that does not is lost. A bucket without
	// rules that holds nothing is not found.
	DropBucket(ctx context.Context, req DropRequest) (DroppedBucket, error)
	// BucketRules lists the buckets that have rules, by name, as this node knows them.
	BucketRules(ctx context.Context) ([]DecidedRules, error)
	// RemoveRegion removes a region from the cluster, in two decisions of the raft group: a majority of the regions
	// must be reached, and all but those that are being removed for the second one. When it returns the region is
	// removed; one that joins is abandoned. It fails with KindDeadline and outcome Applied when the first decision
	// is made and the second was not until ctx ended: it then follows by itself.
	RemoveRegion(ctx context.Context, name string) error
}
