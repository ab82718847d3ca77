package kv

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"time"

	"github.com/theriac-db/theriac/clock"
)

// OpID is a client's name for one transaction, random, so that a retry takes effect once.
type OpID [16]byte

// IsZero tells the id of transactions that carry none.
func (id OpID) IsZero() bool { return id == OpID{} }

func (id OpID) String() string { return hex.EncodeToString(id[:]) }

// ParseOpID reads what String printed.
func ParseOpID(s string) (OpID, error) {
	var id OpID
	if b, err := hex.DecodeString(s); err != nil || copy(id[:], b) != len(id) || len(b) != len(id) {
		return OpID{}, Errorf(KindInvalid, "operation id %q: want 32 hex digits", s)
	}
	return id, nil
}

// Attempt says which try of an operation this is. One at level strong names no lane (region 0), and may be
// tried in any region: all its tries carry After, which is then of region 0. At other levels a first try names the incarnation of the node
// that it is for; a retry says what came before the first try, or how old that is, so that the node
// knows how far back in its log to look.
type Attempt struct {
	ID          OpID
	Incarnation uint64        // first try: of the node it is for; another refuses it
	Retry       bool          // an earlier try may have happened
	Age         time.Duration // retry: time since the first try was sent, by the client's own clock
	Lane        clock.Lane    // retry: the lane that the earlier tries were for; of region 0: the level is strong
	// After, of a retry, and of every try at level strong, is what a snapshot of the process that the first try was for included of its
	// lane (at level strong: any node's, of region 0), told before that was sent (Receipt.Reading, Status.Reading). However late the retry comes, it
	// is looked for above that. 0: none is known, and Age counts, if the retry is not held up on its way.
	After clock.Timestamp
}

// Options go with every request. Level and durability are independent of each other: what one promises
// holds whatever the other is.
type Options struct {
	Level      Level
	Bound      time.Duration // Consistency.Bound
	BoundFail  bool          // Consistency.BoundFail
	Durability Durability    // of what is written
	Regions    int           // Reach.Regions
	Receipt    bool          // the receipt is wanted in full: with Staleness and Paid
	Token      Token         // what the answer must include, at all levels but eventual
	Attempt    Attempt
	// Wait is how long to wait for what Token names, and for what the level asks for, before the call fails
	// with KindStale and before anything is written. 0: until the context's deadline. Over the network it has to end before that, or nobody would hear of it.
	Wait time.Duration
	// Leave is how much of the context's deadline a wait for other regions' disks leaves to the answer's way. It
	// is no caller's: a door sets it, since an answer that is late tells nobody that the write is applied.
	Leave time.Duration
	// Discard is of Commit alone: nothing is written, and what a transaction at level strong has read is judged as
	// if it had written nothing.
	Discard bool
}

// Consistency is the level with what belongs to it.
func (o *Options) Consistency() Consistency {
	return Consistency{Level: o.Level, Bound: o.Bound, BoundFail: o.BoundFail}
}

// SetConsistency sets the level and what belongs to it.
func (o *Options) SetConsistency(c Consistency) {
	o.Level, o.Bound, o.BoundFail = c.Level, c.Bound, c.BoundFail
}

// Reach is the durability with its number of regions.
func (o *Options) Reach() Reach { return Reach{Durability: o.Durability, Regions: o.Regions} }

// SetReach sets the durability and its number of regions.
func (o *Options) SetReach(r Reach) { o.Durability, o.Regions = r.Durability, r.Regions }

// Check refuses a level or a durability that makes no sense anywhere. Whether a node can serve it, and
// what buckets say to it, is found out later.
func (o *Options) Check() error {
	if err := o.Consistency().Check(); err != nil {
		return err
	}
	return o.Reach().Check()
}

// ClusterID names a cluster for good; random, given at its founding.
type ClusterID [16]byte

func (c ClusterID) String() string { return hex.EncodeToString(c[:]) }

// IsZero tells the id that no cluster has.
func (c ClusterID) IsZero() bool { return c == ClusterID{} }

// Token is what a session carries: a cut that its later reads include. The zero Token includes
// nothing and fits any cluster.
type Token struct {
	Cluster ClusterID
	Seen    clock.Vector
}

const tokenVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// IsZero tells the token that includes nothing.
func (t Token) IsZero() bool { return t.Cluster.IsZero() && len(t.Seen) == 0 }

// Encode gives the token's opaque form: version 1, cluster 16, vector, crc32c 4. A zero token is empty.
func (t Token) Encode() []byte {
	if t.IsZero() {
		return nil
	}
	b := append(make([]byte, 0, 1+16+2+12*len(t.Seen)+4), tokenVersion) // mostly enough: one allocation
	b = append(b, t.Cluster[:]...)
	b = t.Seen.Append(b, 0)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func badToken() error {
	return Errorf(KindInvalid, "malformed session token: pass on exactly what an earlier answer returned")
}

// DecodeToken reads what Encode wrote. Errors match ErrInvalid.
func DecodeToken(b []byte) (Token, error) {
	if len(b) == 0 {
		return Token{}, nil
	}
	if len(b) < 1+16+1+4 || b[0] != tokenVersion {
		return Token{}, badToken()
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return Token{}, badToken()
	}
	var t Token
	copy(t.Cluster[:], body[1:])
	seen, rest, err := clock.DecodeVector(body[17:], 0)
	if err != nil || len(rest) != 0 {
		return Token{}, badToken()
	}
	t.Seen = seen
	return t, nil
}

// String is the token as text, for headers and files: base64url of Encode, without padding.
func (t Token) String() string { return base64.RawURLEncoding.EncodeToString(t.Encode()) }

// MarshalText gives String's form.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what String printed. Errors match ErrInvalid.
func (t *Token) UnmarshalText(text []byte) error {
	b, err := base64.RawURLEncoding.AppendDecode(nil, text)
	if err != nil {
		return Errorf(KindInvalid, "malformed session token: %w", err)
	}
	*t, err = DecodeToken(b)
	return err
}

// Join is the least token that includes both. Tokens of different clusters do not join.
func (t Token) Join(u Token) (Token, error) {
	switch {
	case t.Cluster.IsZero():
		return u, nil
	case u.Cluster.IsZero():
		return t, nil
	case t.Cluster != u.Cluster:
		return Token{}, Errorf(KindInvalid, "session tokens of two clusters: %s and %s", t.Cluster, u.Cluster)
	}
	return Token{Cluster: t.Cluster, Seen: t.Seen.Join(u.Seen)}, nil
}

// Receipt comes with every answer. What is below Token comes only where Options.Receipt asks for it.
type Receipt struct {
	Level       Level         // that was served, never LevelDefault
	Bound       time.Duration // of LevelBounded
	Region      string        // name of the region that served
	Incarnation uint64        // of the node: its process, and which of its turns; the next first try names it
	Lane        clock.Lane
	Snapshot    clock.Vector
	Commit      clock.Stamp // zero when nothing was written
	Token       Token       // includes Snapshot and Commit

	Node       string            // address at which the node serves clients; empty when it serves none
	Durability Durability        // that the write had reached, never DurabilityDefault but when nothing was written
	Regions    int               // in how many regions it was on disk then, as far as was known
	Staleness  []RegionStaleness // of the snapshot; see RegionStaleness
	Paid       Phases
}

// StrongTransactions is the name of region 0 in what is told of staleness.
const StrongTransactions = "strong transactions"

// RegionStaleness is how old a snapshot may be in what it holds of one region. Each other region has one; so has region 0,
// which is strong transactions, where all that was acknowledged longer ago is in the snapshot; and the own region
// has one where the snapshot lacks some of what is exposed there, as that of a strong transaction that may write does.
type RegionStaleness struct {
	Region clock.Region
	Name   string
	Age    time.Duration // all that was on that region's disk longer ago is in the snapshot
	Known  bool          // false: nothing is known of it yet, and Age is 0
}

// Phases is the time that a call took at the node, by what it waited for.
type Phases struct {
	Queue   time.Duration // for its turn to be worked on
	Token   time.Duration // for what the token names, and for what the level asks for, to be here
	Work    time.Duration // reading, checking and writing in this node
	Sync    time.Duration // for this region's disk
	Regions time.Duration // for answers of other regions
	Certify time.Duration // for the decision on a strong transaction
}

// Total is the sum of all phases.
func (p Phases) Total() time.Duration {
	return p.Queue + p.Token + p.Work + p.Sync + p.Regions + p.Certify
}

// Plus is what two parts of one call have paid together.
func (p Phases) Plus(q Phases) Phases {
	return Phases{p.Queue + q.Queue, p.Token + q.Token, p.Work + q.Work, p.Sync + q.Sync, p.Regions + q.Regions, p.Certify + q.Certify}
}

// Reading is what a retry of a first try that is sent from now on may name (Attempt.After).
func (r *Receipt) Reading() clock.Timestamp { return reading(r.Snapshot, r.Lane) }

// Certified is what tries at level strong that are sent from now on may name (Attempt.After).
func (r *Receipt) Certified() clock.Timestamp { return reading(r.Snapshot, clock.Lane{}) }

// reading is never 0, and below whatever the lane issues once it has told the snapshot.
func reading(snapshot clock.Vector, l clock.Lane) clock.Timestamp {
	return max(snapshot.At(l.Region), 1)
}

// Request is a one-shot transaction: the queries read the snapshot, then the operations are written.
type Request struct {
	Options Options
	Queries []Query
	Ops     []Op
	Room    []Value // zero values that the answers may be put into; a service is free not to
}

// Response answers a Request: one value for each query.
type Response struct {
	Values  []Value
	Receipt Receipt
}
