package kv

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what went wrong, from a short stable list. It travels in every protocol.
type Kind uint8

const (
	KindInvalid      Kind = iota + 1 // the request makes no sense; correct it
	KindTooLarge                     // beyond a limit of docs/reference/limits.md
	KindNotFound                     // no such transaction, page or region
	KindDenied                       // not allowed
	KindLevelRefused                 // the level or durability can't be had here
	KindStale                        // the snapshot asked for is not here in time
	KindUnavailable                  // the node can't serve now; another may
	KindAborted                      // a condition did not hold; nothing was written
	KindBound                        // a counter's bound would break
	KindNoRights                     // too few rights could be found in time
	KindTooOld                       // the snapshot or the log no longer reaches back that far
	KindLost                         // a crash took back what the token names
	KindReadOnly                     // the node refuses writes
	KindCorrupt                      // bytes on disk or on the wire are damaged
	KindOverloaded                   // a bounded queue or table is full
	KindDeadline                     // the caller's deadline passed or the caller gave up
)

var kindNames = [...]string{"", "invalid", "too large", "not found", "denied", "level refused", "stale",
	"unavailable", "aborted", "bound", "no rights", "too old", "lost", "read-only", "corrupt", "overloaded",
	"deadline"}

func (k Kind) String() string {
	if int(k) < len(kindNames) && k > 0 {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Outcome says whether the write of a failed call may have happened. It decides whether a retry is
// safe. The zero value is "not applied": the right one for reads and for refused requests.
type Outcome uint8

const (
	NotApplied     Outcome = iota // nothing was written, nor will be
	Applied                       // it was written; what failed came after
	OutcomeUnknown                // it may have been written, or may still be
)

var outcomeNames = [...]string{NotApplied: "not applied", Applied: "applied", OutcomeUnknown: "outcome unknown"}

func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}

// Error is every error that leaves the database: what was tried on what, why it failed, and what
// became of the write.
type Error struct {
	Kind       Kind
	Outcome    Outcome
	Message    string        // what was tried, on what, why it failed (the cause's text included), what to do
	RetryAfter time.Duration // hint; 0: none
	ID         OpID          // of the operation whose outcome is unknown; zero: none
	Err        error         // cause; may be nil; not printed again
	// Conflict tells an aborted strong transaction from a condition that did not hold: tried again with a
	// new operation id, at a snapshot that includes Token, it may well succeed.
	Conflict bool
	// Needs is, of a refused level, the one that the caller has to name; zero: naming one does not help.
	Needs Consistency
	// Token includes what the error tells of the data: the snapshot that was read, what a condition was
	// judged by, and the commit where the outcome is "applied". A session takes it in as it does a
	// receipt's, so its next read sees no less. Zero: the error tells nothing of the data, or it is one of
	// its causes that has the token; TokenOf finds it.
	Token Token
}

func (e *Error) Error() string {
	s := e.Message
	if e.Outcome != NotApplied {
		s += " (" + e.Outcome.String() + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrStale) true for every error of that kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Kind == e.Kind // only the sentinels have no message
}

// One sentinel per kind, for errors.Is.
var (
	ErrInvalid      = &Error{Kind: KindInvalid}
	ErrTooLarge     = &Error{Kind: KindTooLarge}
	ErrNotFound     = &Error{Kind: KindNotFound}
	ErrDenied       = &Error{Kind: KindDenied}
	ErrLevelRefused = &Error{Kind: KindLevelRefused}
	ErrStale        = &Error{Kind: KindStale}
	ErrUnavailable  = &Error{Kind: KindUnavailable}
	ErrAborted      = &Error{Kind: KindAborted}
	ErrBound        = &Error{Kind: KindBound}
	ErrNoRights     = &Error{Kind: KindNoRights}
	ErrTooOld       = &Error{Kind: KindTooOld}
	ErrLost         = &Error{Kind: KindLost}
	ErrReadOnly     = &Error{Kind: KindReadOnly}
	ErrCorrupt      = &Error{Kind: KindCorrupt}
	ErrOverloaded   = &Error{Kind: KindOverloaded}
	ErrDeadline     = &Error{Kind: KindDeadline}
)

// Errorf builds an error of a kind whose write was not applied. %w sets the cause.
func Errorf(k Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: k, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Conflict builds the error of a strong transaction that met another one. seen includes the other's commit.
func Conflict(seen Token, format string, args ...any) *Error {
	e := Errorf(KindAborted, format, args...)
	e.Conflict, e.Token = true, seen
	return e
}

// IsConflict reports whether err is of a strong transaction that was not applied since it met another one.
func IsConflict(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Conflict
}

// NeedsOf is the level that the caller has to name after err; zero: that does not help.
func NeedsOf(err error) Consistency {
	var e *Error
	if errors.As(err, &e) {
		return e.Needs
	}
	return Consistency{}
}

// WithOutcome returns a copy of e with another outcome.
func (e *Error) WithOutcome(o Outcome) *Error {
	c := *e
	c.Outcome = o
	return &c
}

// WithToken returns a copy of err that carries a token; nil for nil.
func WithToken(err error, t Token) error {
	if err == nil {
		return nil
	}
	e, bare := err.(*Error) //nolint:errorlint // one that is wrapped is wrapped once more, with its text
	if !bare {
		e = Errorf(KindOf(err), "%w", err).WithOutcome(OutcomeOf(err))
	}
	c := *e
	c.Token = t
	return &c
}

// TokenOf is the first token that an *Error in err's chain carries, or the zero token.
func TokenOf(err error) Token {
	for {
		var e *Error
		if !errors.As(err, &e) {
			return Token{}
		}
		if !e.Token.IsZero() {
			return e.Token
		}
		err = e.Err
	}
}

// KindOf is the kind of the first *Error in err's chain, or 0.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}

// OutcomeOf is the outcome of the first *Error in err's chain; unknown for any other error.
func OutcomeOf(err error) Outcome {
	var e *Error
	if errors.As(err, &e) {
		return e.Outcome
	}
	return OutcomeUnknown
}
