package history

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// plain is a correct history of reads, one after the other: what a case changes is all that is wrong with it.
func plain(txns int) *History {
	h := &History{Header: Header{Version: Version, Workload: "w", Regions: []string{"eu", "us"}}}
	for i := range txns {
		h.Txns = append(h.Txns, Txn{ID: i + 1, Process: i + 1, Region: "eu", Level: "causal", Start: int64(10 * i), End: int64(10*i + 5), Outcome: OK,
			Ops: []Op{{Do: Get, Key: "a", Type: "counter", Got: &Value{Int: 3}}}})
	}
	return h
}

// wide is a vector of many regions, and of one more.
func wide(more int) Vector {
	v := Vector{more: 1}
	for region := range 200 {
		v[region+1] = 1
	}
	return v
}

// TestTheEdgesOfWhatIsRefused: of each limit the last that is right, and the first that is not.
func TestTheEdgesOfWhatIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(h *History)
		says   string // empty: it is right
	}{
		"the first region is empty": {func(h *History) { h.Header.Regions = []string{"", "eu"} }, "region 1 is empty or named twice"},
		"a later region is empty":   {func(h *History) { h.Header.Regions = []string{"eu", ""} }, "region 2 is empty or named twice"},
		"fault before the run":      {func(h *History) { h.Faults = []Fault{{Kind: "x", Start: -1, End: 5}} }, "fault x from -1 to 5"},
		"fault from the start on":   {func(h *History) { h.Faults = []Fault{{Kind: "x", Start: 0, End: 5}} }, ""},
		"fault of no time":          {func(h *History) { h.Faults = []Fault{{Kind: "x", Start: 5, End: 5}} }, ""},
		"second fault": {func(h *History) { h.Faults = []Fault{{Kind: "x", Start: 1, End: 5}, {Start: 1, End: 5}} },
			"a fault without kind"},
		"second operation": {func(h *History) { h.Txns[0].Ops = append(h.Txns[0].Ops, Op{Do: "steal", Type: "counter"}) },
			`transaction 1, operation 2: unknown operation "steal"`},
		"second transaction":     {func(h *History) { h.Txns[1].Level = "" }, "transaction 2: no level"},
		"unknown without answer": {func(h *History) { h.Txns[1].Outcome, h.Txns[1].Ops[0].Got = Unknown, nil }, ""},
		"no number of a session": {func(h *History) { h.Txns[0].Session = -1 }, "process 1, session -1"},
		"no end":                 {func(h *History) { h.Txns[0].Outcome, h.Txns[0].End = Unknown, -2 }, "from 0 to -2"},
		"end at the start":       {func(h *History) { h.Txns[0].End = 0 }, ""},
		"end at a later start":   {func(h *History) { h.Txns[1].End = h.Txns[1].Start }, ""},
		"one of many in a vector": {func(h *History) { h.Txns[0].TokenBefore = wide(MaxRegion + 1) },
			"a vector names region 1001"},
		"the last region of a vector": {func(h *History) { h.Txns[0].Snapshot = wide(MaxRegion) }, ""},
		"the last region of a stamp":  {func(h *History) { stamp(h, Stamp{MaxRegion, 1}) }, ""},
		"stamp at no time":            {func(h *History) { stamp(h, Stamp{1, 0}) }, "commit stamp (1, 0)"},
		"a write after a read": {func(h *History) {
			h.Txns[0].Ops = append(h.Txns[0].Ops, Op{Do: Add, Key: "a", Type: "counter", Arg: &Value{Int: 1}})
			h.Txns[0].Commit = &Stamp{1, 1}
		}, ""},
		"second step of a path": {func(h *History) { path(h, "map", "map", "abacus") }, `unknown type "abacus"`},
		"through a field that is no map": {func(h *History) { path(h, "map", "counter", "counter") },
			"a path goes through maps only, not through a counter"},
		"through a map that only grows": {func(h *History) { path(h, "map-go", "map-go", "counter") }, ""},
		"a process goes on":             {func(h *History) { h.Txns[1].Process = 1 }, ""},
		"one begins as another ends":    {func(h *History) { h.Txns[1].Process, h.Txns[0].End = 1, 10 }, ""},
		"they overlap by one": {func(h *History) { h.Txns[1].Process, h.Txns[0].End = 1, 11 },
			"transactions 1 and 2 of process 1 are under way at the same time"},
		"ids against the time": {func(h *History) {
			h.Txns[1].Process, h.Txns[0].Start, h.Txns[0].End = 1, 20, 30
		}, ""},
		"overlap against the time": {func(h *History) {
			h.Txns[1].Process, h.Txns[0].Start, h.Txns[0].End = 1, 12, 30
		}, "transactions 2 and 1 of process 1 are under way at the same time"},
		"a session goes on after an unknown outcome": {func(h *History) {
			h.Txns[0].Session, h.Txns[1].Session, h.Txns[0].Outcome, h.Txns[0].End = 4, 4, Unknown, -1
		}, ""},
		"a session ends what it began": {func(h *History) {
			h.Txns[0].Session, h.Txns[1].Session, h.Txns[0].Outcome, h.Txns[0].End = 4, 4, Unknown, 11
		}, "transactions 1 and 2 of session 4 are under way at the same time"},
	} {
		t.Run(name, func(t *testing.T) {
			h := plain(2)
			c.change(h)
			err := h.Check()
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.says)
		})
	}
}

// stamp makes the first transaction one that writes, with a stamp.
func stamp(h *History, s Stamp) {
	h.Txns[0].Ops = []Op{{Do: Add, Key: "a", Type: "counter", Arg: &Value{Int: 1}}}
	h.Txns[0].Commit = &s
}

// path makes the first transaction read a field of a field.
func path(h *History, object, field, within string) {
	o := &h.Txns[0].Ops[0]
	o.Type, o.Path = object, []Step{{"f", field}, {"g", within}}
}

// TestEachTypeHasItsOperations: what can be done to which type is written down here once more.
func TestEachTypeHasItsOperations(t *testing.T) {
	has := map[string][]Do{
		"counter": {Add}, "register-lww": {Assign}, "register-mv": {Assign}, "flag-ew": {Enable, Disable}, "flag-dw": {Enable, Disable},
		"set-aw": {Insert, Remove, Contains}, "set-rw": {Insert, Remove, Contains}, "set-go": {Insert, Contains}, "map": nil, "map-go": nil,
	}
	for kind, verbs := range has {
		for _, do := range []Do{Get, Contains, Add, Assign, Insert, Remove, Enable, Disable, Reset} {
			h := plain(1)
			o := &h.Txns[0].Ops[0]
			o.Do, o.Type, o.Got = do, kind, &Value{}
			if o.Writes() {
				o.Got = nil
			}
			if do == Add || do == Assign {
				o.Arg = &Value{}
			}
			if do == Get || do == Reset || slices.Contains(verbs, do) {
				require.NoError(t, h.Check(), "%s on %s", do, kind)
			} else {
				require.ErrorContains(t, h.Check(), "there is no "+string(do)+" on a "+kind)
			}
		}
	}
}

// TestTheLinesOfEqualIDsAreNamed: those of the two, wherever they stand.
func TestTheLinesOfEqualIDsAreNamed(t *testing.T) {
	_, err := Read(strings.NewReader(header + read(1, "") + read(2, "") + read(2, `"process":2 -> "process":3`)))
	require.ErrorContains(t, err, "lines 3 and 4: two transactions have the id 2")
	_, err = Read(strings.NewReader(header + read(1, "") + read(4, "") + read(2, "")))
	require.ErrorContains(t, err, "line 3: there is no transaction 3, but there is 4")
}

// TestWhatIsLeftOfALineIsNoEnd: not one byte goes unnoticed, and a disk that fails within a line is told as that.
func TestWhatIsLeftOfALineIsNoEnd(t *testing.T) {
	_, err := Read(strings.NewReader(header + "{"))
	require.ErrorContains(t, err, "line 2: it is cut off")
	broken := errors.New("broken disk")
	_, err = Read(&failing{strings.NewReader(header + read(1, "")[:40]), broken})
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "line 2")
}

// TestTheLongestLineIsRead: MaxLine bytes, with the line feed, and not one more.
func TestTheLongestLineIsRead(t *testing.T) {
	line := bytes.Repeat([]byte{' '}, MaxLine+1)
	line[MaxLine-1] = '\n'
	_, err := Read(bytes.NewReader(line[:MaxLine]))
	require.ErrorContains(t, err, "line 1: no header")
	line[MaxLine-1], line[MaxLine] = ' ', '\n'
	_, err = Read(bytes.NewReader(line))
	require.ErrorContains(t, err, "line 1: longer than 67108864 bytes")
}

// TestWritersSetTheVersion: whoever begins a history need not know it. Texts stand as they are.
func TestWritersSetTheVersion(t *testing.T) {
	var out bytes.Buffer
	h := plain(0)
	h.Header.Version, h.Header.Workload = 0, "a<b"
	h.Faults = []Fault{{Kind: "x", Start: 1, End: 2}, {Kind: "y", Start: 3, End: 4}}
	require.NoError(t, h.Write(&out))
	require.Contains(t, out.String(), `"a<b"`)
	back, err := Read(&out)
	require.NoError(t, err)
	require.Equal(t, Version, back.Header.Version)
	require.Equal(t, h.Faults, back.Faults)
}

// TestAHistoryWithoutHeaderIsNotWritten: what could not be read back is an error before the first byte.
func TestAHistoryWithoutHeaderIsNotWritten(t *testing.T) {
	var out bytes.Buffer
	require.ErrorContains(t, new(History).Write(&out), "names no workload")
	require.Empty(t, out.String())
}
