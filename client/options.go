package client

import "github.com/theriac-db/theriac/kv"

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
func Eventual() CallOption { return AtLevel(LevelEventual) }

// Causal reads a snapshot that includes the session's token. It is the default.
func Causal() CallOption { return AtLevel(LevelCausal) }

// AtLevel names the consistency level. Default: LevelCausal.
func AtLevel(l Level) CallOption { return func(c *call) { c.Level = l } }

// Applied makes a write answer before it is on disk, which follows within a bounded delay: faster,
// and a crash of the node may take the write back (a token that names it then gets ErrLost).
func Applied() CallOption { return WithDurability(DurabilityApplied) }

// WithDurability names when a write answers. Default: DurabilityLocal, on this region's disk.
func WithDurability(d Durability) CallOption { return func(c *call) { c.Durability = d } }

// WithToken names the least snapshot that the call accepts, beside the session's own. Tokens come
// from Session.Token and Receipt.Token.
func WithToken(t Token) CallOption { return func(c *call) { c.Token = t } }

// WithReceipt has the receipt of the call stored in r, when the call succeeds.
func WithReceipt(r *Receipt) CallOption { return func(c *call) { c.receipt = r } }

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
