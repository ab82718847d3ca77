package torture

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Place is something whose value is judged by itself: a counter, a register, an element of a set, a field
// of a map.
type Place struct {
	Object string // type and key, as in "counter left"
	Part   string // element or field; empty: the object itself
}

func (p Place) String() string {
	if p.Part == "" {
		return p.Object
	}
	return p.Object + " / " + p.Part
}

// Reading is what a snapshot holds: the text of every place that has a value. Counters are in decimal.
type Reading map[Place]string

// Deed is what a transaction does to a place.
type Deed uint8

// The deeds.
const (
	Add   Deed = iota + 1 // N to a counter
	Put                   // Text in place of what was there
	Take                  // away what was there
	Clear                 // the whole object; Part is empty
)

var deedNames = [...]string{Add: "add", Put: "put", Take: "take", Clear: "clear"}

// Effect is one deed of a transaction.
type Effect struct {
	Place Place
	Deed  Deed
	N     int64
	Text  string
	// Mark says that no other transaction ever writes the place: whether it has a value tells whether
	// this transaction was applied.
	Mark bool
}

// Promise is what the caller of a transaction was told.
type Promise uint8

// The promises.
const (
	Waiting Promise = iota // no answer yet
	Refused                // certainly not applied
	Shown                  // applied, and perhaps not on disk: a crash may take it back
	Kept                   // applied and on disk
	Unsure                 // the outcome is unknown
	promises
)

var promiseNames = [...]string{"waiting", "refused", "applied", "local", "unknown"}

func (p Promise) String() string { return promiseNames[p] }

// Fate is what became of a transaction, for good.
type Fate uint8

// The fates.
const (
	Open Fate = iota
	Applied
	Absent
	TooOld // an answer only: the log no longer tells
)

var fateNames = [...]string{"open", "applied", "not applied", "too old"}

func (f Fate) String() string { return fateNames[f] }

// Entry is one transaction.
type Entry struct {
	ID      string
	Writer  string
	Effects []Effect
	Promise Promise
	Fate    Fate
	// Where tells how to ask for its outcome. The book does not look at it.
	Where any
}

// Book knows every transaction of one database and what was told of them. Begin and Told may be called by
// several writers at a time.
type Book struct {
	mu    sync.Mutex
	open  []*Entry // not settled, in the order in which they were begun
	last  []*Entry // that were settled last
	known map[string]Fate
	must  Reading // what the settled ones make
	count map[string]int
}

// NewBook returns the book of an empty database.
func NewBook() *Book {
	return &Book{known: map[string]Fate{}, must: Reading{}, count: map[string]int{}}
}

// Begin enters a transaction before it is sent.
func (b *Book) Begin(e *Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = append(b.open, e)
}

// Told notes what the caller of a transaction was told.
func (b *Book) Told(e *Entry, p Promise) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.Promise = p
}

// Unsettled lists what was begun since the last Settle.
func (b *Book) Unsettled() []*Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.open)
}

// Counts says how many entries were settled, by promise and fate.
func (b *Book) Counts() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.count)
}

// Settle judges all open entries by a snapshot that was read while nobody wrote and before anybody asked,
// and by the answers to those who asked then, by id. It returns what is wrong, nothing if all is well.
func (b *Book) Settle(r Reading, answers map[string]Fate) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var wrong []string
	for _, e := range b.open {
		fate, said := b.judge(e, r, answers[e.ID])
		wrong = append(wrong, said...)
		e.Fate, b.known[e.ID] = fate, fate
		b.count[fmt.Sprintf("%s: %s", e.Promise, fate)]++
		if fate == Applied {
			b.fold(e)
		}
	}
	b.last, b.open = b.open, nil
	return append(wrong, b.compare(r)...)
}

// Dump writes the entries that were settled last and those that are open, one line each, for whoever looks
// into a failure.
func (b *Book) Dump() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out strings.Builder
	for _, e := range append(slices.Clone(b.last), b.open...) {
		fmt.Fprintf(&out, "%s of %s, told %s, is %s:", e.ID, e.Writer, e.Promise, e.Fate)
		for _, f := range e.Effects[:min(len(e.Effects), maxFindings)] {
			fmt.Fprintf(&out, " %s %s", deedNames[f.Deed], f.Place)
			if f.Deed == Add {
				fmt.Fprintf(&out, " %d", f.N)
			}
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// judge decides the fate of one entry.
func (b *Book) judge(e *Entry, r Reading, answer Fate) (Fate, []string) {
	var wrong []string
	say := func(format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("%s of %s (told: %s): ", e.ID, e.Writer, e.Promise)+fmt.Sprintf(format, args...))
	}
	data, half := e.shown(r)
	if half != "" {
		say("half a transaction: %s", half)
	}
	if data != Open && (answer == Applied || answer == Absent) && data != answer {
		say("its outcome is said to be %q, and the data says %q", answer, data)
	}
	fate := data
	if fate == Open && answer != TooOld {
		fate = answer
	}
	switch e.Promise {
	case Kept:
		if fate == Absent {
			say("a write that was acknowledged on disk is lost")
		}
		fate = Applied
	case Refused:
		if fate == Applied {
			say("a write that was refused is there")
		}
		fate = Absent
	case Waiting, Shown, Unsure:
		if fate == Open {
			say("nothing tells its fate: the answer was %q", answer)
			fate = Absent
		}
	}
	return fate, wrong
}

// shown is the fate that the entry's marks show, and which of them do not agree.
func (e *Entry) shown(r Reading) (f Fate, half string) {
	var there, missing []string
	for _, f := range e.Effects {
		if !f.Mark {
			continue
		}
		if r[f.Place] == f.Text {
			there = append(there, f.Place.String())
		} else {
			missing = append(missing, f.Place.String())
		}
	}
	switch {
	case len(there) > 0 && len(missing) > 0:
		return Applied, fmt.Sprintf("%s is there, %s is not", brief(there), brief(missing))
	case len(there) > 0:
		return Applied, ""
	case len(missing) > 0:
		return Absent, ""
	}
	return Open, ""
}

// fold makes an applied entry part of what must be there.
func (b *Book) fold(e *Entry) {
	for _, f := range e.Effects {
		switch f.Deed {
		case Add:
			was, _ := strconv.ParseInt(b.must[f.Place], 10, 64)
			b.must[f.Place] = strconv.FormatInt(was+f.N, 10)
		case Put:
			b.must[f.Place] = f.Text
		case Take:
			delete(b.must, f.Place)
		case Clear:
			for p := range b.must {
				if p.Object == f.Place.Object {
					delete(b.must, p)
				}
			}
		}
	}
}

// maxFindings bounds how many differences one comparison tells.
const maxFindings = 20

// Compare tells where a reading differs from what all settled entries make.
func (b *Book) Compare(r Reading) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.compare(r)
}

// compare tells where a reading differs from what must be there.
func (b *Book) compare(r Reading) []string {
	var wrong []string
	for p, want := range b.must {
		if got, there := r[p]; !there {
			wrong = append(wrong, fmt.Sprintf("%s: %q is gone", p, clip(want)))
		} else if got != want {
			wrong = append(wrong, fmt.Sprintf("%s: holds %q, want %q", p, clip(got), clip(want)))
		}
	}
	for p, got := range r {
		if _, known := b.must[p]; !known {
			wrong = append(wrong, fmt.Sprintf("%s: %q from nowhere", p, clip(got)))
		}
	}
	slices.Sort(wrong)
	return atMost(wrong)
}

// Again judges a later answer on an operation that is settled.
func (b *Book) Again(id string, answer Fate) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if was, known := b.known[id]; known && answer != TooOld && answer != was {
		return []string{fmt.Sprintf("%s was %s, and is %s now: its fate changed", id, was, answer)}
	}
	return nil
}

// Visit is a session, the answers that it was given, and what its token is worth after a crash.
type Visit struct {
	Region  string
	Token   string
	Entries []*Entry // that were acknowledged to it
}

// Judge says whether a token was answered rightly: honoured, or refused as lost. All its entries are
// settled.
func (v *Visit) Judge(honoured bool) []string {
	for _, e := range v.Entries {
		if e.Fate != Absent {
			continue
		}
		if honoured {
			return []string{fmt.Sprintf("a token is honoured whose session was told that %s is %s, and it is lost", e.ID, e.Promise)}
		}
		return nil
	}
	if !honoured {
		return []string{fmt.Sprintf("a token is refused as lost, and all %d acknowledged writes of its session are there", len(v.Entries))}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + fmt.Sprintf("... (%d bytes)", len(s))
	}
	return s
}

func brief(list []string) string {
	if len(list) > 3 {
		return strings.Join(list[:3], ", ") + fmt.Sprintf(" and %d more", len(list)-3)
	}
	return strings.Join(list, ", ")
}

func atMost(list []string) []string {
	if len(list) > maxFindings {
		return append(list[:maxFindings:maxFindings], fmt.Sprintf("and %d more differences", len(list)-maxFindings))
	}
	return list
}
