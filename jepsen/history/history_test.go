package history

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const header = `{"history":2,"workload":"bank","regions":["eu","us"]}` + "\n"

// read is a line with a transaction that reads, with changes.
func read(id int, more string) string {
	line := `{"txn":{"id":ID,"process":PROCESS,"region":"eu","level":"causal","start":10,"end":20,"outcome":"ok",` +
		`"ops":[{"do":"get","key":"a","type":"counter","got":{"int":3}}]}}` + "\n"
	line = strings.NewReplacer("ID", string(rune('0'+id)), "PROCESS", string(rune('0'+id))).Replace(line)
	if more != "" {
		old, with, _ := strings.Cut(more, " -> ")
		if !strings.Contains(line, old) {
			panic("nothing to change: " + old)
		}
		line = strings.Replace(line, old, with, 1)
	}
	return line
}

// TestBadHistoriesAreRefused: each error names the line and says what is wrong.
func TestBadHistoriesAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"empty":             {"", "empty"},
		"no header":         {read(1, ""), "line 1: no header"},
		"not JSON":          {"hello\n", "line 1: no header"},
		"another version":   {strings.Replace(header, "2", "1", 1), "line 1: format 1: this program reads format 2"},
		"header's field":    {strings.Replace(header, "{", `{"colour":1,`, 1), `line 1: malformed: json: unknown field "colour"`},
		"no workload":       {strings.Replace(header, "bank", "", 1), "line 1: the header names no workload"},
		"no regions":        {strings.Replace(header, `"eu","us"`, "", 1), "line 1: the header names no regions"},
		"a region twice":    {strings.Replace(header, `"us"`, `"eu"`, 1), "line 1: the header's region 2 is empty or named twice"},
		"cut off":           {header + strings.TrimSuffix(read(1, ""), "}\n"), "line 2: it is cut off"},
		"malformed":         {header + "{]\n", "line 2: malformed"},
		"two objects":       {header + `{"fault":{"kind":"x","start":1,"end":2}} {}` + "\n", "line 2: malformed: more than one object"},
		"neither":           {header + "{}\n", "line 2: neither"},
		"both":              {header + `{"txn":{},"fault":{}}` + "\n", "line 2: neither"},
		"blank line":        {header + "\n", "line 2: malformed"},
		"fault's kind":      {header + `{"fault":{"kind":"","start":1,"end":2}}` + "\n", "line 2: a fault without kind"},
		"fault's times":     {header + `{"fault":{"kind":"x","start":3,"end":2}}` + "\n", "line 2: fault x from 3 to 2"},
		"id":                {header + read(1, `"id":1 -> "id":0`), "transaction 0: ids start at 1"},
		"id twice":          {header + read(1, "") + read(1, `"process":1 -> "process":2`), "lines 2 and 3: two transactions have the id 1"},
		"id missing":        {header + read(2, ""), "line 2: there is no transaction 1, but there is 2"},
		"outcome":           {header + read(1, `"ok" -> "good"`), `line 2: transaction 1: outcome "good"`},
		"region":            {header + read(1, `"eu" -> "mars"`), `line 2: transaction 1: region "mars"`},
		"level":             {header + read(1, `"causal" -> ""`), "line 2: transaction 1: no level"},
		"bound":             {header + read(1, `"level":"causal" -> "level":"causal","bound":5`), "line 2: transaction 1: a bound of 5 at level causal"},
		"no bound":          {header + read(1, `"causal" -> "bounded"`), "line 2: transaction 1: a bound of 0 at level bounded"},
		"disks":             {header + read(1, `"ops" -> "disks":-1,"ops"`), "transaction 1: on disk in -1 regions"},
		"process":           {header + read(1, `"process":1 -> "process":0`), "transaction 1: process 0"},
		"start":             {header + read(1, `"start":10 -> "start":-4`), "transaction 1: from -4"},
		"end":               {header + read(1, `"end":20 -> "end":9`), "transaction 1: it ends at 9, before its start at 10"},
		"ok without end":    {header + read(1, `"end":20 -> "end":-1`), "transaction 1: outcome ok without an end"},
		"no operations":     {header + read(1, `{"do":"get","key":"a","type":"counter","got":{"int":3}} -> `), "no operations"},
		"vector":            {header + read(1, `"ops" -> "snapshot":{"-1":5},"ops"`), "a vector names region -1"},
		"vector's end":      {header + read(1, `"ops" -> "token_after":{"1001":5},"ops"`), "a vector names region 1001: they are 1 to 1000"},
		"stamp's region":    {header + read(1, `"ops" -> "commit":{"region":1001,"time":1},"ops"`), "commit stamp (1001, 1)"},
		"vector's text":     {header + read(1, `"ops" -> "snapshot":{"eu":5},"ops"`), "line 2: malformed"},
		"stamp":             {header + read(1, `"ops" -> "commit":{"region":-1,"time":1},"ops"`), "commit stamp (-1, 1)"},
		"stamp of a read":   {header + read(1, `"ops" -> "commit":{"region":1,"time":1},"ops"`), "though it writes nothing"},
		"failed stamp":      {header + read(1, `"ok","ops" -> "fail","commit":{"region":1,"time":1},"ops"`), "though it failed"},
		"verb":              {header + read(1, `"get" -> "steal"`), `operation 1: unknown operation "steal"`},
		"type":              {header + read(1, `"counter" -> "abacus"`), `operation 1: unknown type "abacus"`},
		"verb of a type":    {header + read(1, `"do":"get" -> "do":"enable"`), "there is no enable on a counter"},
		"path":              {header + read(1, `"got" -> "path":[{"name":"f","type":"counter"}],"got"`), "a path goes through maps only"},
		"path's type":       {header + read(1, `"counter","got" -> "map","path":[{"name":"f","type":"x"}],"got"`), `unknown type "x"`},
		"no answer":         {header + read(1, `,"got":{"int":3} -> `), "get without an answer"},
		"answer of a write": {header + read(1, `"do":"get" -> "do":"reset"`), "reset with an answer"},
		"no arg":            {header + read(1, `"do":"get","key":"a","type":"counter","got":{"int":3} -> "do":"add","key":"a","type":"counter"`), "add without arg"},
		"an arg":            {header + read(1, `"got" -> "arg":{"int":1},"got"`), "get with an arg"},
		"expect":            {header + read(1, `"got" -> "expect":{"int":1},"got"`), "get with expect"},
		"element":           {header + read(1, `"got" -> "element":"e","got"`), "get with an element"},
		"answer's form":     {header + read(1, `{"int":3} -> {"text":"3"}`), "got of get: a value with text, where a counter has int"},
		"absent answer":     {header + read(1, `{"int":3} -> {"int":3,"absent":true}`), "a value with int, where a counter has int, and nothing if it is absent"},
		"field's form": {header + read(1, `"counter","got":{"int":3} -> "map","got":{"fields":[{"name":"f","type":"flag-ew","value":{"int":3}}]}`),
			`got of get: field "f": a value with int, where a flag-ew has flag`},
		"contains' form":   {header + read(1, `"get","key":"a","type":"counter","got":{"int":3} -> "contains","key":"a","type":"set-aw","got":{"list":["e"]}`), "got of contains: a value with list"},
		"arg's form":       {header + read(1, `"get","key":"a","type":"counter","got":{"int":3} -> "add","key":"a","type":"counter","arg":{"text":"3"}`), "arg of add: a value with text"},
		"arg of nothing":   {header + read(1, `"get","key":"a","type":"counter","got":{"int":3} -> "assign","key":"a","type":"register-mv","arg":{"absent":true}`), "assign of nothing"},
		"expect's form":    {header + read(1, `"get","key":"a","type":"counter","got":{"int":3} -> "assign","key":"a","type":"register-lww","arg":{"text":"x"},"expect":{"list":["x"]}`), "expect of assign: a value with list"},
		"process overlaps": {header + read(1, "") + read(2, `"process":2 -> "process":1`), "transactions 1 and 2 of process 1 are under way at the same time"},
		"session overlaps": {
			header + read(1, `"region" -> "session":4,"region"`) + read(2, `"region" -> "session":4,"region"`),
			"transactions 1 and 2 of session 4 are under way at the same time",
		},
		"process goes on": {
			header + strings.Replace(read(1, `"end":20 -> "end":-1`), `"ok"`, `"unknown"`, 1) + read(2, `"process":2 -> "process":1`),
			"process 1 goes on with transaction 2 after the unknown outcome of 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(strings.NewReader(c.text))
			require.ErrorContains(t, err, c.says)
		})
	}
}

// TestAnEmptyVectorIsAReport: a snapshot before every write is another thing than one that was not reported.
func TestAnEmptyVectorIsAReport(t *testing.T) {
	h, err := Read(strings.NewReader(header + read(1, `"ops" -> "snapshot":{},"ops"`)))
	require.NoError(t, err)
	require.Equal(t, Vector{}, h.Txns[0].Snapshot)
	require.Nil(t, h.Txns[0].TokenBefore)
	var out bytes.Buffer
	require.NoError(t, h.Write(&out))
	again, err := Read(&out)
	require.NoError(t, err)
	require.Equal(t, h, again)
}

// TestLongLinesAreRefused: memory stays bounded whatever a file holds.
func TestLongLinesAreRefused(t *testing.T) {
	_, err := Read(&zeros{})
	require.ErrorContains(t, err, "line 1: longer than")
}

type zeros struct{}

func (*zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestFilesAreNamedInErrors covers a missing file and a bad one.
func TestFilesAreNamedInErrors(t *testing.T) {
	name := filepath.Join(t.TempDir(), "history.jsonl")
	_, err := ReadFile(name)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(name, []byte(header+"x\n"), 0o600))
	_, err = ReadFile(name)
	require.ErrorContains(t, err, name+": history: line 2: malformed")
	require.NoError(t, os.WriteFile(name, []byte(header+read(1, "")), 0o600))
	h, err := ReadFile(name)
	require.NoError(t, err)
	require.Len(t, h.Txns, 1)
}

// TestReadErrorsAreToldWithTheirLine: a disk that fails midway is no end of the file.
func TestReadErrorsAreToldWithTheirLine(t *testing.T) {
	broken := errors.New("broken disk")
	_, err := Read(&failing{strings.NewReader(header), broken})
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "line 2")
}

type failing struct {
	from *strings.Reader
	err  error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.from.Len() > 0 {
		return f.from.Read(p)
	}
	return 0, f.err
}

// TestWriteErrorsStay: after a failure nothing more is written.
func TestWriteErrorsStay(t *testing.T) {
	_, err := NewWriter(new(bytes.Buffer), Header{})
	require.ErrorContains(t, err, "names no workload")
	full := errors.New("disk full")
	out := &filling{room: 200, err: full}
	w, err := NewWriter(out, Header{Workload: "w", Regions: []string{"eu"}})
	require.NoError(t, err)
	txn := Txn{ID: 1, Process: 1, Region: "eu", Level: "causal", End: 1, Outcome: OK, Ops: []Op{{Do: Get, Key: strings.Repeat("k", 300), Type: "counter", Got: &Value{}}}}
	require.NoError(t, w.Txn(&txn))
	require.ErrorIs(t, w.Flush(), full)
	require.ErrorIs(t, w.Txn(&txn), full)
	require.ErrorIs(t, w.Fault(&Fault{Kind: "x"}), full)
	require.ErrorIs(t, w.Flush(), full)
}

type filling struct {
	room int
	err  error
}

func (f *filling) Write(p []byte) (int, error) {
	if len(p) > f.room {
		return 0, f.err
	}
	f.room -= len(p)
	return len(p), nil
}

// TestOrderInTheFileDoesNotMatter: lines stand as transactions ended, a history by id and start.
func TestOrderInTheFileDoesNotMatter(t *testing.T) {
	faults := []string{`{"fault":{"kind":"b","start":9,"end":-1}}`, `{"fault":{"kind":"a","start":3,"end":4}}`}
	h, err := Read(strings.NewReader(header + faults[0] + "\n" + read(2, "") + read(1, "") + faults[1] + "\n"))
	require.NoError(t, err)
	require.Equal(t, 1, h.Txns[0].ID)
	require.Equal(t, 2, h.Txns[1].ID)
	require.Equal(t, "a", h.Faults[0].Kind)
}

// TestHistoriesReadBackAsTheyWereWritten for random ones.
func TestHistoriesReadBackAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := randomHistory(t)
		var out bytes.Buffer
		require.NoError(t, h.Write(&out))
		back, err := Read(&out)
		require.NoError(t, err)
		require.Equal(t, h, back)
	})
}

func randomHistory(t *rapid.T) *History {
	h := &History{Header: Header{Version: Version, Workload: "w", Regions: []string{"eu", "us"}, Seed: rapid.Uint64().Draw(t, "seed")}}
	n := rapid.IntRange(0, 8).Draw(t, "transactions")
	for i := range n {
		txn := Txn{
			ID: i + 1, Process: i + 1, Session: rapid.IntRange(0, 2).Draw(t, "session"),
			Region: rapid.SampledFrom(h.Header.Regions).Draw(t, "region"), Level: "causal",
			Start: int64(10 * i), End: int64(10*i + 5),
			Outcome: rapid.SampledFrom([]Outcome{OK, Fail, Unknown}).Draw(t, "outcome"),
			Ops:     rapid.SliceOfN(rapid.Custom(randomOp), 1, 4).Draw(t, "ops"),
		}
		if rapid.Bool().Draw(t, "reported") {
			txn.Snapshot = Vector{}
			if rapid.Bool().Draw(t, "of something") {
				txn.Snapshot[1] = rapid.Uint64().Draw(t, "time")
			}
		}
		if txn.Writes() && txn.Outcome == OK {
			txn.Commit = &Stamp{Region: 1, Time: uint64(i + 1)}
		}
		h.Txns = append(h.Txns, txn)
	}
	if rapid.Bool().Draw(t, "fault") {
		h.Faults = []Fault{{Kind: "partition", Targets: []string{"eu"}, Start: 3, End: -1}}
		if rapid.Bool().Draw(t, "effects") {
			h.Faults[0].Effects = map[string]int{"bytes held": rapid.IntRange(1, 1<<40).Draw(t, "bytes")}
		}
	}
	return h
}

func randomOp(t *rapid.T) Op {
	key := rapid.String().Draw(t, "key")
	return rapid.SampledFrom([]Op{
		{Do: Get, Key: key, Type: "counter", Got: &Value{Int: rapid.Int64().Draw(t, "int")}},
		{Do: Get, Key: key, Type: "set-aw", Got: &Value{List: []string{"a", key}}},
		{Do: Contains, Key: key, Type: "set-rw", Element: "e", Got: &Value{Flag: true}},
		{Do: Get, Bucket: "b", Key: key, Type: "map", Got: &Value{Fields: []Field{{Name: "f", Type: "counter", Value: Value{Int: 1}}}}},
		{Do: Add, Key: key, Type: "map", Path: []Step{{"f", "counter"}}, Arg: &Value{Int: 2}},
		{Do: Assign, Key: key, Type: "register-lww", Arg: &Value{Text: key}, Expect: &Value{Absent: true}},
		{Do: Remove, Key: key, Type: "set-aw", Element: key},
		{Do: Disable, Key: key, Type: "flag-dw"},
		{Do: Reset, Key: key, Type: "map-go"},
	}).Draw(t, "op")
}

// FuzzRead: whatever a file holds, reading it ends, and what is taken can be written and read again.
func FuzzRead(f *testing.F) {
	f.Add([]byte(header + read(1, "")))
	f.Add([]byte(header + `{"fault":{"kind":"x","start":1,"end":2}}` + "\n"))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var out bytes.Buffer
		require.NoError(t, h.Write(&out))
		_, err = Read(&out)
		require.NoError(t, err)
	})
}

// TestTheFormatsPageShowsAHistory: the example of docs/formats/history.md is one.
func TestTheFormatsPageShowsAHistory(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "formats", "history.md"))
	require.NoError(t, err)
	_, example, found := strings.Cut(string(page), "<!-- history:example -->\n```json\n")
	require.True(t, found)
	example, _, found = strings.Cut(example, "```")
	require.True(t, found)
	h, err := Read(strings.NewReader(example))
	require.NoError(t, err)
	require.Len(t, h.Txns, 3)
	require.Len(t, h.Faults, 1)
}

// TestHistoriesInMemoryAreCheckedAsFilesAre: what Check takes can be written and read back.
func TestHistoriesInMemoryAreCheckedAsFilesAre(t *testing.T) {
	whole := func() *History {
		h, err := Read(strings.NewReader(header + read(2, "") + read(1, "") + `{"fault":{"kind":"b","start":9,"end":-1}}` + "\n"))
		require.NoError(t, err)
		h.Txns[0], h.Txns[1] = h.Txns[1], h.Txns[0]
		return h
	}
	h := whole()
	require.NoError(t, h.Check())
	require.Equal(t, 1, h.Txns[0].ID, "in the order of their ids")
	for says, change := range map[string]func(h *History){
		"format 0":                     func(h *History) { h.Header.Version = 0 },
		"names no workload":            func(h *History) { h.Header.Workload = "" },
		"transaction 2: no level":      func(h *History) { h.Txns[0].Level = "" },
		"a fault without kind":         func(h *History) { h.Faults[0].Kind = "" },
		`b with 0 times effect "cut"`:  func(h *History) { h.Faults[0].Effects = map[string]int{"cut": 0} },
		`b with 1 times effect ""`:     func(h *History) { h.Faults[0].Effects = map[string]int{"": 1} },
		"there is no transaction 2":    func(h *History) { h.Txns[0].ID = 3 },
		"of process 1 are under way":   func(h *History) { h.Txns[0].Process = 1 },
		"two transactions have the id": func(h *History) { h.Txns[0].ID = 1 },
	} {
		h := whole()
		change(h)
		require.ErrorContains(t, h.Check(), says)
	}
}
