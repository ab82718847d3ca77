package certify

import (
	"fmt"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Access is a part of the data that a transaction reads or writes: one leaf by its key, or everything
// whose key begins with Key. Keys order and nest as kv.AppendName and kv.AppendPath make them; the
// certifier only compares bytes. Point and Prefix make accesses.
type Access struct {
	Key    []byte // 1 to MaxAccess bytes
	Prefix bool
}

// Point is the access to one leaf. A key longer than MaxAccess counts as everything that begins with
// its first MaxAccess bytes: that may abort a transaction without need, and never misses a conflict.
func Point(key []byte) Access {
	if len(key) > MaxAccess {
		return Prefix(key)
	}
	return Access{Key: key}
}

// Prefix is the access to everything that begins with key, of which MaxAccess bytes count.
func Prefix(key []byte) Access { return Access{Key: key[:min(len(key), MaxAccess)], Prefix: true} }

// Write is what a transaction writes.
type Write struct {
	Access
	Covers bool // it overrides what it finds (assign, remove, reset), so it conflicts as a read does
}

// Proposer is one life of a region's process: the region, and the random number that the process drew.
type Proposer struct {
	Region      clock.Region // never 0
	Incarnation uint64       // never 0
}

func (p Proposer) String() string { return fmt.Sprintf("%d/%x", p.Region, p.Incarnation) }

// Kind says what a proposal asks for.
type Kind uint8

const (
	KindTransaction Kind = 1 // commit Txn if nothing in Reads, or that a write covers, is newer than Snapshot
	KindDenial      Kind = 2 // decide that the operation ID was not applied, and never will be
	KindBegin       Kind = 3 // Proposer's life begins; the region's life Ends, if it is the current one, ends
	KindCommand     Kind = 4 // decide the metadata command Body
)

var kindNames = [...]string{"", "transaction", "denial", "begin", "command"}

func (k Kind) String() string {
	if int(k) < len(kindNames) && k > 0 {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Proposal is one thing to decide. A proposer gives each its number, from 1 on, and repeats it
// unchanged until it sees the decision. A begin has no number: the incarnation names it.
type Proposal struct {
	Proposer
	Kind   Kind
	Number uint64
	// Answered: the proposer has seen the decisions of all numbers up to this one, below Number, and asks
	// for none of them again; they may be forgotten.
	Answered uint64
	// ID is the client's operation id, zero for none. A denial has one.
	ID kv.OpID
	// After is a time of region 0 that the client knew before it sent its first try. With it the bounded
	// memory of ids is exact: an unknown id whose After reaches back too far is refused.
	After    clock.Timestamp
	Snapshot clock.Vector // transaction, command: what it read at; every entry is durable in a majority
	Reads    []Access     // transaction
	Writes   []Write      // transaction
	Body     []byte       // transaction: what the record holds; command: its bytes. Opaque
	Ends     uint64       // begin: the incarnation that this one follows; 0: the region's first
}

// Verdict is what was decided.
type Verdict uint8

const (
	Committed Verdict = iota + 1 // applied, at Time
	Aborted                      // something read or covered has a newer strong commit; not applied
	Denied                       // the operation was denied: not applied, and never will be
	TooOld                       // entry 0 of the snapshot is below State.Low; not applied
	Forgotten                    // the id is unknown, and one known before may have been forgotten: outcome unknown
	Invalid                      // a snapshot, or an After, that names commits that do not exist; not applied
	Ended                        // not the region's current life; this entry applies nothing. See Decision.Current
	Answered                     // at or below the proposer's own Answered: ignored
	Beyond                       // not decided: too many numbers under way, or too many regions, or ids all too fresh
	Begun                        // the proposer is the region's current life
	Done                         // a command was handed to Metadata; see Decision.Answer
	Dropped                      // it accesses what Metadata says is no more; not applied
)

var verdictNames = [...]string{"", "committed", "aborted", "denied", "too old", "forgotten", "invalid", "ended",
	"answered", "beyond", "begun", "done", "dropped"}

func (v Verdict) String() string {
	if int(v) < len(verdictNames) && v > 0 {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// Conflict names what aborted a transaction.
type Conflict struct {
	Access int             // position in Reads, or len(Reads) plus that in Writes
	Time   clock.Timestamp // of the newest commit that any of its accesses conflicts with; Dropped: of one at the drop or behind it
}

// Decision is what became of one proposal.
type Decision struct {
	Proposal *Proposal // its slices alias the log entry
	Verdict  Verdict
	// Repeated: this was decided before, under its number or its id, and is the first decision. A repeated
	// commit makes no record.
	Repeated bool
	Time     clock.Timestamp // Committed: of the commit. Done: 0 if the command is none
	Prev     clock.Timestamp // of a commit that is not repeated by id: of the one before it; 0 for the first
	Conflict Conflict        // Aborted, Dropped
	Current  uint64          // Ended: the region's current incarnation; 0: none, or none ever again
	Answer   []byte          // Done: what Metadata said
}

// IsRecord reports whether the decision makes a record of region 0's lane.
func (d *Decision) IsRecord() bool { return d.Commits() && !d.Repeated }

// Commits reports whether what was decided has a place among the commits: its Time.
func (d *Decision) Commits() bool { return d.Verdict == Committed || d.Verdict == Done && d.Time != 0 }
