package client

import (
	"crypto/rand"

	"github.com/theriac-db/theriac/kv"
)

// The nouns of package kv, under the names that an application needs.
type (
	// Error is every error of this package.
	Error = kv.Error
	// Kind says what went wrong.
	Kind = kv.Kind
	// Outcome says whether the write of a failed call may have happened.
	Outcome = kv.Outcome
	// Level is what an answer includes.
	Level = kv.Level
	// Durability is when a write answers.
	Durability = kv.Durability
	// Consistency is a level with what belongs to it: a bound.
	Consistency = kv.Consistency
	// Reach is a durability with its number of regions: how far a write gets before it is answered.
	Reach = kv.Reach
	// Phases is the time that a call took at the node, by what it waited for.
	Phases = kv.Phases
	// RegionStaleness is how old a snapshot may be in what it holds of one region.
	RegionStaleness = kv.RegionStaleness
	// LevelStatus says whether a node can serve a level now.
	LevelStatus = kv.LevelStatus
	// Token is what a session carries: a cut that its later reads include. It prints as text for
	// headers and files, and ParseToken reads it back.
	Token = kv.Token
	// Receipt says how a call was served: region, snapshot, commit stamp and the new token.
	Receipt = kv.Receipt
	// OpID names one transaction, so that a retry takes effect once.
	OpID = kv.OpID
	// Attempt says which try of an operation a call is.
	Attempt = kv.Attempt
	// Type is a data type's number.
	Type = kv.Type
	// Object is what a client addresses: bucket, key and type.
	Object = kv.Object
	// Path leads from an object down to a map's field.
	Path = kv.Path
	// Step is one step of a Path: a field's name and type.
	Step = kv.Step
	// Op is one update, for Do.
	Op = kv.Op
	// Query is one read, for Do.
	Query = kv.Query
	// Value is what a read returns.
	Value = kv.Value
	// Field is a map's field with its value.
	Field = kv.Field
	// Status is what a node says of itself and the cluster.
	Status = kv.Status
	// BucketRules is what is decided for a bucket: which types it takes, which levels calls may have, and the
	// defaults of those that name none.
	BucketRules = kv.BucketRules
	// DecidedRules are a bucket's rules as a node knows them, and which regions do not act by them yet.
	DecidedRules = kv.DecidedRules
	// DropRequest asks that a bucket be dropped.
	DropRequest = kv.DropRequest
	// DroppedBucket says what became of a bucket.
	DroppedBucket = kv.DroppedBucket
	// Digest is a digest of readable content at one snapshot.
	Digest = kv.Digest
	// OutcomeAnswer says what became of an operation.
	OutcomeAnswer = kv.OutcomeAnswer
)

// The data types, by their numbers. docs/reference has what each does when updates are concurrent.
const (
	TypeCounter     Type = iota + 1 // counter: a sum
	TypeRegisterLWW                 // register-lww: the last write wins
	TypeRegisterMV                  // register-mv: keeps all concurrent values
	TypeFlagEW                      // flag-ew: enable wins over a concurrent disable
	TypeFlagDW                      // flag-dw: disable wins over a concurrent enable
	TypeSetAW                       // set-aw: add wins over a concurrent remove
	TypeSetRW                       // set-rw: remove wins over a concurrent add
	TypeSetGO                       // set-go: grows only
	TypeMap                         // map: fields of any type; an update wins over a concurrent remove
	TypeMapGO                       // map-go: fields of any type, never removed
)

// The levels and durabilities, as receipts and statuses name them. Calls ask for them with options: Strong,
// Durable and so on.
const (
	LevelDefault       = kv.LevelDefault
	LevelEventual      = kv.LevelEventual
	LevelCausal        = kv.LevelCausal
	LevelBounded       = kv.LevelBounded
	LevelQuorum        = kv.LevelQuorum
	LevelStrong        = kv.LevelStrong
	DurabilityDefault  = kv.DurabilityDefault
	DurabilityApplied  = kv.DurabilityApplied
	DurabilityLocal    = kv.DurabilityLocal
	DurabilityRegions  = kv.DurabilityRegions
	DurabilityMajority = kv.DurabilityMajority
	DurabilityAll      = kv.DurabilityAll
)

// ParseConsistency reads what Consistency.String printed: "causal", "bounded:2s", "bounded:2s:fail".
func ParseConsistency(s string) (Consistency, error) { return kv.ParseConsistency(s) }

// ParseReach reads what Reach.String printed: "local", "majority", "2".
func ParseReach(s string) (Reach, error) { return kv.ParseReach(s) }

// What became of a write.
const (
	OutcomeNotApplied = kv.NotApplied
	OutcomeApplied    = kv.Applied
	OutcomeUnknown    = kv.OutcomeUnknown
)

// One sentinel per kind of error, for errors.Is.
var (
	ErrInvalid      = kv.ErrInvalid      // the request makes no sense; correct it
	ErrTooLarge     = kv.ErrTooLarge     // beyond a limit
	ErrNotFound     = kv.ErrNotFound     // no such transaction, page or region
	ErrDenied       = kv.ErrDenied       // not allowed
	ErrLevelRefused = kv.ErrLevelRefused // the level or durability can't be had here
	ErrStale        = kv.ErrStale        // the snapshot asked for is not here in time
	ErrUnavailable  = kv.ErrUnavailable  // no node can serve now
	ErrAborted      = kv.ErrAborted      // a condition did not hold; nothing was written
	ErrBound        = kv.ErrBound        // a counter's bound would break
	ErrNoRights     = kv.ErrNoRights     // too few rights could be found in time
	ErrTooOld       = kv.ErrTooOld       // the snapshot or the log no longer reaches back that far
	ErrLost         = kv.ErrLost         // a crash took back what the token names
	ErrReadOnly     = kv.ErrReadOnly     // the node refuses writes
	ErrCorrupt      = kv.ErrCorrupt      // bytes on disk or on the wire are damaged
	ErrOverloaded   = kv.ErrOverloaded   // a bounded queue or table is full
	ErrDeadline     = kv.ErrDeadline     // the caller's deadline passed or the caller gave up
)

// KindOf is the kind of the first *Error in err's chain, or 0.
func KindOf(err error) Kind { return kv.KindOf(err) }

// OutcomeOf is the outcome of the first *Error in err's chain; unknown for any other error.
func OutcomeOf(err error) Outcome { return kv.OutcomeOf(err) }

// NewOpID returns a random operation id.
func NewOpID() OpID {
	var id OpID
	rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	return id
}

// ParseOpID reads what OpID.String printed.
func ParseOpID(s string) (OpID, error) { return kv.ParseOpID(s) }

// ParseToken reads what Token.String printed.
func ParseToken(s string) (Token, error) {
	var t Token
	err := t.UnmarshalText([]byte(s))
	return t, err
}
