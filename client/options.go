package client

import (
	"time"

	"github.com/theriac-db/theriac/kv"
)

// CallOption changes one call, or, given to WithDefaults, every call.
type CallOption func(*call)

// call is what options say of one call.
type call struct {
	kv.Options
	receipt *Receipt
}

// fill hands the receipt to the caller that asked for it.
func (c *call) fill(r Receipt) {
	if c.receipt != nil {
		*c.receipt = r
	}
}

// Eventual reads what the node exposes as it is, without waiting for the session's token: still
// atomic and causally closed, perhaps behind the session.
func Eventual() CallOption { return At(Consistency{Level: LevelEventual}) }

// Causal reads a snapshot that includes the session's token.
func Causal() CallOption { return At(Consistency{Level: LevelCausal}) }

// Bounded is Causal, and the snapshot misses nothing that was on disk in any region longer ago than d, at
// least 1 µs. Where that can't be had the call waits for it, until its deadline.
func Bounded(d time.Duration) CallOption { return At(Consistency{Level: LevelBounded, Bound: d}) }

// BoundedOrFail is Bounded, but the call fails at once, with ErrStale, where the bound can't be kept.
func BoundedOrFail(d time.Duration) CallOption {
	return At(Consistency{Level: LevelBounded, Bound: d, BoundFail: true})
}

// Quorum is Causal, and the snapshot includes all that a majority of regions had acknowledged when the call
// began. It needs a majority of the regions.
func Quorum() CallOption { return At(Consistency{Level: LevelQuorum}) }

// Strong makes the call a strong transaction: all of them happen as if one after the other, each in the time
// of its call (strict serializability); towards calls at other levels it is Causal. It needs a majority of
// the regions. What it writes is on disk in a majority of them when it is answered.
func Strong() CallOption { return At(Consistency{Level: LevelStrong}) }

// At names the consistency level, with what belongs to it. Default: the strongest default of the buckets
// that the call touches, and Causal for those that have none.
func At(level Consistency) CallOption {
	return func(c *call) { c.SetConsistency(level) }
}

// Durable names when a write answers: Durable(client.Majority), Durable(client.Regions(2)). Default: the
// strongest default of the buckets that it writes, and Local for those that have none.
//
// A durability that is not reached in time is an error whose outcome is "applied": the write is there, and
// will be wherever it was to be, but the regions that are behind were not waited for.
func Durable(r Reach) CallOption { return func(c *call) { c.SetReach(r) } }

// How far a write gets before it is answered.
var (
	// Applied answers before the write is on disk, which follows within a bounded delay: faster, and a crash
	// of the node may take the write back (a token that names it then gets ErrLost).
	Applied = Reach{Durability: DurabilityApplied}
	// Local answers once the write is on disk in the region that serves the call.
	Local = Reach{Durability: DurabilityLocal}
	// Majority answers once a majority of the regions can read it and have it on disk.
	Majority = Reach{Durability: DurabilityMajority}
	// All answers once all regions do.
	All = Reach{Durability: DurabilityAll}
)

// Regions answers once so many regions can read the write and have it on disk, the one that serves the call
// included; 1 is Local. More than there are is ErrLevelRefused.
func Regions(n int) Reach { return Reach{Durability: DurabilityRegions, Regions: n} }

// WithToken names the least snapshot that the call accepts, beside the session's own. Tokens come
// from Session.Token and Receipt.Token.
func WithToken(t Token) CallOption { return func(c *call) { c.Token = t } }

// WithReceipt has the receipt of the call stored in r, when the call succeeds: in full, with the staleness
// of the snapshot and the time that the call paid for; of Update that of the last run, in its beginning and its commit.
func WithReceipt(r *Receipt) CallOption {
	return func(c *call) { c.receipt, c.Options.Receipt = r, true }
}

// WithOpID names the operation of a first try. Default: none in-process; over the network the
// client draws a random id for each write. Use it to store the id before the write, so that another
// process can ask for its outcome. An id is for one transaction.
func WithOpID(id OpID) CallOption {
	return func(c *call) { c.Attempt = Attempt{ID: id} }
}

// WithAttempt says in full which try of an operation the call is: for a retry of an operation of
// an earlier process, which names the age and the lane of the first try.
func WithAttempt(a Attempt) CallOption { return func(c *call) { c.Attempt = a } }

// callOptions applies options to defaults. It is apart from its callers so that only calls with
// options pay for an escaping call.
func callOptions(defaults call, opts []CallOption) call {
	if len(opts) == 0 {
		return defaults
	}
	return applyOptions(defaults, opts)
}

func applyOptions(c call, opts []CallOption) call {
	for _, o := range opts {
		o(&c)
	}
	return c
}
