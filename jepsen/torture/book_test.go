package torture

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// transfer adds to a counter and leaves a mark.
func transfer(id string, p Promise) *Entry {
	return &Entry{ID: id, Writer: "w", Promise: p, Effects: []Effect{
		{Place: Place{"counter n", ""}, Deed: Add, N: 5},
		{Place: Place{"go done", id}, Deed: Put, Text: present, Mark: true},
		{Place: Place{"map notes", id}, Deed: Put, Text: id, Mark: true},
	}}
}

// note adds to a counter and leaves none.
func note(id string, p Promise) *Entry {
	return &Entry{ID: id, Writer: "w", Promise: p, Effects: []Effect{{Place: Place{"counter n", ""}, Deed: Add, N: 5}}}
}

func whole(id string) Reading {
	return Reading{{"counter n", ""}: "5", {"go done", id}: present, {"map notes", id}: id}
}

func without(r Reading, p Place) Reading {
	delete(r, p)
	return r
}

func with(r Reading, p Place, text string) Reading {
	r[p] = text
	return r
}

// TestBookFindsEveryLie hands the book what a database that is broken would show and answer.
func TestBookFindsEveryLie(t *testing.T) {
	n := Place{"counter n", ""}
	for name, c := range map[string]struct {
		entry  *Entry
		shows  Reading
		answer Fate
		finds  string // empty: nothing
	}{
		"all is well":                            {transfer("a", Kept), whole("a"), Applied, ""},
		"nothing was applied, as was said":       {transfer("a", Refused), Reading{}, Absent, ""},
		"unknown, and there":                     {transfer("a", Unsure), whole("a"), Applied, ""},
		"unknown, and not there":                 {transfer("a", Unsure), Reading{}, Absent, ""},
		"unknown, too old to ask, and there":     {transfer("a", Unsure), whole("a"), TooOld, ""},
		"unknown, too old to ask, and not there": {transfer("a", Unsure), Reading{}, TooOld, ""},
		"applied only, and a crash took it":      {transfer("a", Shown), Reading{}, Absent, ""},
		"a counter alone, unknown and there":     {note("a", Unsure), Reading{n: "5"}, Applied, ""},
		"a counter alone, unknown and not there": {note("a", Unsure), Reading{}, Absent, ""},

		"a lost write":                             {transfer("a", Kept), Reading{}, Open, "is lost"},
		"a lost write whose loss is admitted":      {transfer("a", Kept), Reading{}, Absent, "is lost"},
		"a lost addition":                          {note("a", Kept), Reading{}, Open, `counter n: "5" is gone`},
		"a lost addition that is said to be there": {note("a", Unsure), Reading{}, Applied, `counter n: "5" is gone`},
		"a doubled addition":                       {note("a", Kept), Reading{n: "10"}, Open, `holds "10", want "5"`},
		"a doubled addition of a transaction":      {transfer("a", Kept), with(whole("a"), n, "10"), Open, `holds "10", want "5"`},
		"an addition that is denied":               {note("a", Unsure), Reading{n: "5"}, Absent, `"5" from nowhere`},
		"half a transaction":                       {transfer("a", Kept), without(whole("a"), Place{"map notes", "a"}), Open, "half a transaction"},
		"half a transaction of unknown outcome":    {transfer("a", Unsure), without(whole("a"), Place{"go done", "a"}), Applied, "half a transaction"},
		"half a transaction, the counter missing":  {transfer("a", Kept), without(whole("a"), n), Open, `counter n: "5" is gone`},
		"the outcome denies what is there":         {transfer("a", Unsure), whole("a"), Absent, `said to be "not applied", and the data says "applied"`},
		"the outcome claims what is not there":     {transfer("a", Unsure), Reading{}, Applied, `said to be "applied", and the data says "not applied"`},
		"a refused write is there":                 {transfer("a", Refused), whole("a"), Open, "a write that was refused is there"},
		"a refused addition is there":              {note("a", Refused), Reading{n: "5"}, Open, `"5" from nowhere`},
		"nothing tells":                            {note("a", Unsure), Reading{}, TooOld, "nothing tells its fate"},
		"from nowhere":                             {transfer("a", Kept), with(whole("a"), Place{"set s", "x"}, present), Open, "set s / x: \"there\" from nowhere"},
		"another value":                            {transfer("a", Kept), with(whole("a"), Place{"map notes", "a"}, "b"), Open, "map notes / a"},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBook()
			b.Begin(c.entry)
			wrong := b.Settle(c.shows, map[string]Fate{c.entry.ID: c.answer})
			if c.finds == "" {
				require.Empty(t, wrong)
				return
			}
			require.Contains(t, wrongly(wrong).Error(), c.finds)
		})
	}
}

func TestBookFindsWhatChangesLater(t *testing.T) {
	b := NewBook()
	there, not := transfer("a", Unsure), transfer("b", Unsure)
	b.Begin(there)
	b.Begin(not)
	require.Empty(t, b.Settle(whole("a"), map[string]Fate{"a": Applied, "b": Absent}))
	require.Empty(t, b.Again("a", Applied))
	require.Empty(t, b.Again("a", TooOld))
	require.Empty(t, b.Again("b", Absent))
	require.Contains(t, wrongly(b.Again("a", Absent)).Error(), "its fate changed")
	require.Contains(t, wrongly(b.Again("b", Applied)).Error(), "its fate changed")
	require.Empty(t, b.Compare(whole("a")))
	both := with(with(with(whole("a"), Place{"go done", "b"}, present), Place{"map notes", "b"}, "b"), Place{"counter n", ""}, "10")
	require.Len(t, b.Compare(both), 3, "what was absent comes later")
	require.Len(t, b.Compare(Reading{}), 3, "what was there goes later")
}

func TestVisitJudgesTokens(t *testing.T) {
	kept, lost := &Entry{ID: "a", Promise: Kept, Fate: Applied}, &Entry{ID: "b", Promise: Shown, Fate: Absent}
	for _, c := range []struct {
		entries  []*Entry
		honoured bool
		finds    string
	}{
		{nil, true, ""},
		{[]*Entry{kept}, true, ""},
		{[]*Entry{kept, lost}, false, ""},
		{[]*Entry{kept}, false, "refused as lost, and all 1 acknowledged"},
		{[]*Entry{kept, lost}, true, "told that b is applied, and it is lost"},
	} {
		wrong := (&Visit{Entries: c.entries}).Judge(c.honoured)
		if c.finds == "" {
			require.Empty(t, wrong)
		} else {
			require.Contains(t, wrongly(wrong).Error(), c.finds)
		}
	}
}

func TestBookFoldsInOrder(t *testing.T) {
	b := NewBook()
	p, q := Place{"set s", "x"}, Place{"set s", "y"}
	for i, f := range []Effect{
		{Place: p, Deed: Put, Text: present}, {Place: q, Deed: Put, Text: present}, {Place: p, Deed: Take},
		{Place: Place{"register r", ""}, Deed: Put, Text: "1"}, {Place: Place{"register r", ""}, Deed: Put, Text: "2"},
	} {
		b.Begin(&Entry{ID: string(rune('a' + i)), Promise: Kept, Effects: []Effect{f}})
	}
	require.Empty(t, b.Settle(Reading{q: present, {"register r", ""}: "2"}, nil))
	b.Begin(&Entry{ID: "z", Promise: Kept, Effects: []Effect{{Place: Place{"set s", ""}, Deed: Clear}}})
	require.Len(t, b.Settle(Reading{q: present, {"register r", ""}: "2"}, nil), 1, "it should be cleared")
	require.Empty(t, b.Compare(Reading{{"register r", ""}: "2"}))
}
