package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/theriac-db/theriac/cmd/theriac/words"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// progress draws how far a command got on a terminal; elsewhere it does nothing.
type progress struct{ bar *progressbar.ProgressBar }

// progressEvery is how often the bar is drawn at most.
const progressEvery = 200 * time.Millisecond

// progress makes a bar over size bytes, or a count when the size is -1.
func (r *run) progress(title string, size int64) *progress {
	if !r.app.Terminal || r.json() {
		return &progress{}
	}
	return &progress{progressbar.NewOptions64(size, progressbar.OptionSetWriter(r.app.Stderr),
		progressbar.OptionSetDescription(title), progressbar.OptionShowBytes(size >= 0), progressbar.OptionShowCount(),
		progressbar.OptionThrottle(progressEvery), progressbar.OptionClearOnFinish())}
}

// Errors of drawing are nobody's: the work goes on.

func (p *progress) add(n int) {
	if p.bar != nil {
		_ = p.bar.Add(n)
	}
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}

// position is how far an import got: whole lines, and operations of the line behind them.
type position struct{ lines, ops int64 }

func (p position) String() string {
	return strconv.FormatInt(p.lines, 10) + "+" + strconv.FormatInt(p.ops, 10)
}

func parsePosition(s string) (p position, err error) {
	lines, ops, _ := strings.Cut(s, "+")
	var err2 error
	p.lines, err = strconv.ParseInt(lines, 10, 64)
	p.ops, err2 = strconv.ParseInt(ops, 10, 64)
	if err != nil || err2 != nil || p.lines < 0 || p.ops < 0 {
		return position{}, kv.Errorf(kv.KindCorrupt, "import progress %q: want LINES+OPERATIONS", s)
	}
	return p, nil
}

// progressRecord is where an import's position lives: a map in a bucket of the database's own, with
// two registers. docs/formats/jsonl.md describes it.
type progressRecord struct{ object kv.Object }

const (
	positionField = "position"
	sumField      = "sha256"
	progressOps   = 2 // operations that a transaction spends on the position
)

// reservedError is stricter than the database, which lets imports write to kv.ImportBucket: data there
// would be in no export and no digest.
func reservedError(b kv.Bucket) error {
	return kv.Errorf(kv.KindInvalid, "bucket %s: names that start with %s are the database's own", words.Quote(string(b)), kv.ReservedPrefix)
}

func newProgressRecord(id string) progressRecord {
	return progressRecord{kv.Object{Bucket: kv.ImportBucket, Key: kv.Key(id), Type: crdt.Map}}
}

func registerAt(name string) kv.Path { return kv.Path{{Name: name, Type: crdt.RegisterLWW}} }

func (r progressRecord) load(ctx context.Context, c *conn) (position, string, error) {
	values, err := c.do(ctx, []kv.Query{{Object: r.object, Path: registerAt(positionField)},
		{Object: r.object, Path: registerAt(sumField)}}, nil)
	if err != nil || !values[0].Present {
		return position{}, "", err
	}
	at, err := parsePosition(string(values[0].Bytes))
	return at, string(values[1].Bytes), err
}

// ops move the position, on the condition that nobody else did.
func (r progressRecord) ops(from, to position, sum string) []kv.Op {
	expect := &kv.Expectation{Value: []byte(from.String())}
	if from == (position{}) {
		expect = &kv.Expectation{Absent: true}
	}
	return []kv.Op{
		{Object: r.object, Path: registerAt(positionField), Verb: kv.VerbAssign, Data: []byte(to.String()), Expect: expect},
		{Object: r.object, Path: registerAt(sumField), Verb: kv.VerbAssign, Data: []byte(sum)},
	}
}
