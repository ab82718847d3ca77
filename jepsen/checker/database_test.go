package checker_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/kv"
)

// The checkers share no code with the database, so nothing but a run of both can show that they agree on
// what is right. Here three regions are driven with random transactions over all types and nested maps, by
// sessions that hop and callers without one, while links are cut and regions crash; and what happened is
// written down by hand.

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0: a new one")

// patience bounds waiting for what should happen soon.
const patience = 40 * time.Second

// seeded is a seed, and says how to replay it should the test fail.
func seeded(t *testing.T) uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("replay (but for the order in which goroutines run): go test ./jepsen/checker -run '^%s$' -seed %d", t.Name(), seed)
		}
	})
	return seed
}

// plan is what a run does.
type plan struct {
	rounds, txns int  // txns of each caller a round
	faults       bool // cut links and crash regions
	applied      bool // some writes do not wait for the disk
	pairs        bool // counters that are written together, one that is never reset, and one that often is
}

// recorded drives a database of three regions and returns what its clients saw.
func recorded(t *testing.T, seed uint64, p plan) *history.History {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := embedded.StartCluster(ctx, embedded.ClusterOptions{Seed: seed | 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	d := &driver{t: t, c: c, plan: p, h: &history.History{Header: history.Header{Version: history.Version, Workload: "by hand", Regions: c.Regions(), Seed: seed}}}
	random := rand.New(rand.NewPCG(seed, 0))
	var callers []*caller
	for i := range uint64(6) {
		callers = append(callers, d.caller(rand.New(rand.NewPCG(seed, i+1)), i < 4))
	}
	for range p.rounds {
		d.round(callers, random)
	}
	d.finals()
	slices.SortFunc(d.h.Txns, func(a, b history.Txn) int { return int(a.Start - b.Start) })
	for i := range d.h.Txns {
		d.h.Txns[i].ID = i + 1
	}
	return d.h
}

// driver is one run.
type driver struct {
	plan
	t    *testing.T
	c    *embedded.Cluster
	time atomic.Int64 // every reading is another one, so that the order of calls is never in doubt
	next atomic.Int64 // of processes and sessions

	mu sync.Mutex
	h  *history.History
}

func (d *driver) now() int64 { return d.time.Add(1) }

// round lets all callers work, meanwhile one region is cut off, or crashes.
func (d *driver) round(callers []*caller, random *rand.Rand) {
	var done sync.WaitGroup
	var made atomic.Int64
	for _, k := range callers {
		done.Go(func() {
			for range d.txns {
				k.step()
				made.Add(1)
			}
		})
	}
	if d.faults {
		region, start := d.c.Regions()[random.IntN(3)], d.now()
		f := history.Fault{Kind: "partition", Targets: []string{region}, Start: start}
		d.c.Isolate(region)
		d.until(&made, int64(d.txns))
		if random.IntN(2) == 0 {
			f.Kind = "crash"
			d.c.Crash(region)
			d.restart(region)
		}
		d.c.Rejoin(region)
		f.End = d.now()
		d.h.Faults = append(d.h.Faults, f)
	}
	done.Wait()
	d.converge()
	for range 30 {
		callers[0].look()
	}
}

// until waits until the callers have made so many transactions more.
func (d *driver) until(made *atomic.Int64, n int64) {
	deadline, again := time.NewTimer(time.Second), time.NewTicker(time.Millisecond)
	defer deadline.Stop()
	defer again.Stop()
	for goal := made.Load() + n; made.Load() < goal; {
		select {
		case <-again.C:
		case <-deadline.C:
			return
		}
	}
}

func (d *driver) restart(region string) {
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	require.NoError(d.t, d.c.Restart(ctx, region))
}

func (d *driver) converge() {
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	_, err := d.c.Converge(ctx)
	require.NoError(d.t, err)
}

// finals reads everything in every region.
func (d *driver) finals() {
	for _, region := range d.c.Regions() {
		k := d.caller(nil, false)
		t := k.begin(region)
		t.Final = true
		var queries []kv.Query
		for _, key := range keys {
			for _, typ := range crdt.Types() {
				queries = append(queries, kv.Query{Object: object(key, typ)})
			}
		}
		for _, key := range []string{"left", "right", "sum", "often reset"} {
			queries = append(queries, kv.Query{Object: object(key, crdt.Counter)})
		}
		k.shot(&t, queries, nil)
		require.Equal(d.t, history.OK, t.Outcome, t.Error)
	}
}

// caller is a session, or a client without one.
type caller struct {
	*driver
	rng              *rand.Rand
	process, session int
	token            client.Token
}

func (d *driver) caller(rng *rand.Rand, session bool) *caller {
	k := &caller{driver: d, rng: rng, process: int(d.next.Add(1))}
	if session {
		k.session = k.process
	}
	return k
}

// begin is a transaction of which nothing has happened yet.
func (k *caller) begin(region string) history.Txn {
	t := history.Txn{Process: k.process, Session: k.session, Region: region, Level: "causal", Start: k.now()}
	if k.session != 0 {
		t.TokenBefore = vector(k.token.Seen)
	}
	return t
}

// step makes one random transaction.
func (k *caller) step() {
	regions := k.c.Regions()
	t := k.begin(regions[(k.process+k.rng.IntN(4)/3*k.rng.IntN(3))%3])
	var opts []client.CallOption
	if k.rng.IntN(8) == 0 {
		t.Level = "eventual"
		opts = append(opts, client.Eventual())
	}
	durability := kv.DurabilityLocal
	if k.applied && k.rng.IntN(4) == 0 {
		durability = kv.DurabilityApplied
	}
	if k.pairs && k.rng.IntN(3) == 0 {
		k.pair(&t)
		return
	}
	if k.rng.IntN(2) == 0 {
		k.interactive(&t, durability, opts)
		return
	}
	var queries []kv.Query
	for range k.rng.IntN(3) {
		q := k.randomQuery()
		queries = append(queries, q)
		t.Ops = append(t.Ops, asked(q))
	}
	var ops []kv.Op
	for range k.rng.IntN(4) {
		o := k.randomOp(k.rng.IntN(2) == 0)
		ops = append(ops, o)
		t.Ops = append(t.Ops, wrote(o))
	}
	if len(t.Ops) > 0 {
		k.oneShot(&t, ops, queries, durability, opts...)
	}
}

// pair reads, or writes, counters of which the run knows more.
func (k *caller) pair(t *history.Txn) {
	ops := map[string]kv.Op{}
	for _, key := range []string{"left", "right", "sum", "often reset"} {
		o := kv.Op{Object: object(key, crdt.Counter), Verb: kv.VerbIncrement, Int: 1 + k.rng.Int64N(5)}
		if key == "often reset" && k.rng.IntN(3) == 0 {
			o.Verb, o.Int = kv.VerbReset, 0
		}
		ops[key] = o
	}
	switch k.rng.IntN(4) {
	case 0:
		k.shot(t, nil, []kv.Op{ops["left"], ops["right"]})
	case 1:
		k.shot(t, nil, []kv.Op{ops["sum"], ops["often reset"]})
	default:
		k.shot(t, []kv.Query{{Object: ops["left"].Object}, {Object: ops["right"].Object}, {Object: ops["sum"].Object}, {Object: ops["often reset"].Object}}, nil)
	}
}

// shot is a transaction of one round trip, at the default durability.
func (k *caller) shot(t *history.Txn, queries []kv.Query, ops []kv.Op) {
	for _, q := range queries {
		t.Ops = append(t.Ops, asked(q))
	}
	for _, o := range ops {
		t.Ops = append(t.Ops, wrote(o))
	}
	k.oneShot(t, ops, queries, kv.DurabilityLocal)
}

// look reads something in any region.
func (k *caller) look() {
	t := k.begin(k.c.Regions()[k.rng.IntN(3)])
	k.shot(&t, []kv.Query{k.randomQuery()}, nil)
}

// oneShot is a transaction of one round trip: the queries read, then the operations are written.
func (k *caller) oneShot(t *history.Txn, ops []kv.Op, queries []kv.Query, durability kv.Durability, opts ...client.CallOption) {
	var receipt client.Receipt
	values, err := k.c.DB(t.Region).Do(k.deadline(), ops, queries,
		append(opts, client.WithToken(k.token), client.WithReceipt(&receipt), client.Durable(kv.Reach{Durability: durability}))...)
	for i, v := range values {
		t.Ops[i].Got = value(v)
	}
	k.end(t, durability, receipt, err)
}

// interactive is a transaction of several round trips.
func (k *caller) interactive(t *history.Txn, durability kv.Durability, opts []client.CallOption) {
	var receipt client.Receipt
	ctx := k.deadline()
	err := k.c.DB(t.Region).Update(ctx, func(tx *client.Tx) error {
		t.Ops = nil // of an earlier try nothing was written
		for range 1 + k.rng.IntN(4) {
			q := k.randomQuery()
			var ops []kv.Op
			if k.rng.IntN(3) > 0 {
				ops = append(ops, k.randomOp(false))
				t.Ops = append(t.Ops, wrote(ops[0]))
			}
			t.Ops = append(t.Ops, asked(q))
			values, err := tx.Do(ctx, ops, []kv.Query{q})
			if err != nil {
				return err
			}
			t.Ops[len(t.Ops)-1].Got = value(values[0])
			if q.Type == crdt.RegisterLWW && len(q.Path) == 0 {
				o := kv.Op{Object: q.Object, Verb: kv.VerbAssign, Data: k.text(), Expect: &kv.Expectation{Absent: !values[0].Present, Value: values[0].Bytes}}
				t.Ops = append(t.Ops, wrote(o))
				if _, err := tx.Do(ctx, []kv.Op{o}, nil); err != nil {
					return err
				}
			}
		}
		return nil
	}, append(opts, client.WithToken(k.token), client.WithReceipt(&receipt), client.Durable(kv.Reach{Durability: durability}))...)
	if len(t.Ops) > 0 {
		k.end(t, durability, receipt, err)
	}
}

func (k *caller) deadline() context.Context {
	ctx, cancel := context.WithTimeout(k.t.Context(), 2*time.Second)
	k.t.Cleanup(cancel)
	return ctx
}

// end notes what became of a transaction.
func (k *caller) end(t *history.Txn, durability kv.Durability, receipt client.Receipt, err error) {
	t.End, t.Outcome = k.now(), history.OK
	if t.Writes() {
		t.Durability = durability.String()
	}
	switch {
	case err == nil:
		t.Snapshot = vector(receipt.Snapshot)
		if !receipt.Commit.IsZero() {
			t.Commit = &history.Stamp{Region: int(receipt.Commit.Region), Time: uint64(receipt.Commit.Time)}
		}
		joined, err := k.token.Join(receipt.Token)
		require.NoError(k.t, err)
		t.TokenAfter = vector(joined.Seen)
		if k.session != 0 {
			k.token = joined
		}
	case kv.OutcomeOf(err) == kv.NotApplied:
		t.Outcome, t.Error = history.Fail, err.Error()
	default:
		t.Outcome, t.Error = history.Unknown, err.Error()
	}
	if t.Outcome == history.Unknown || errors.Is(err, client.ErrLost) {
		k.process = int(k.next.Add(1))
		if k.session != 0 {
			k.session, k.token = k.process, client.Token{}
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.h.Txns = append(k.h.Txns, *t)
}

// keys are few, so that much happens to each.
var keys = []string{"k0", "k1"}

func object(key string, typ kv.Type) kv.Object {
	return kv.Object{Bucket: kv.DefaultBucket, Key: kv.Key(key), Type: typ}
}

// types to draw from; maps come often, since they hold all others.
var types = append(crdt.Types(), crdt.Map, crdt.Map)

func (k *caller) place() (kv.Object, kv.Path) {
	o := object(keys[k.rng.IntN(len(keys))], types[k.rng.IntN(len(types))])
	var p kv.Path
	for at := o.Type; len(p) < 2 && (at == crdt.Map || at == crdt.MapGO) && k.rng.IntN(5) > 0; {
		at = types[k.rng.IntN(len(types))]
		p = append(p, kv.Step{Name: fmt.Sprint(k.rng.IntN(2)), Type: at})
	}
	return o, p
}

// randomOp draws an operation that its type has. compare: it may be a compare-and-set.
func (k *caller) randomOp(compare bool) kv.Op {
	for {
		o, p := k.place()
		op := kv.Op{Object: o, Path: p, Verb: kv.Verb(1 + k.rng.IntN(int(kv.VerbReset))), Data: []byte(fmt.Sprint(k.rng.IntN(4)))}
		leaf := leafOf(o, p)
		switch op.Verb {
		case kv.VerbIncrement:
			op.Int, op.Data = int64(k.rng.IntN(9)-3), nil
		case kv.VerbEnable, kv.VerbDisable, kv.VerbReset:
			op.Data = nil
		case kv.VerbAssign:
			if k.rng.IntN(4) > 0 {
				op.Data = k.text()
			}
			if compare && leaf == crdt.RegisterLWW {
				op.Expect = &kv.Expectation{Absent: k.rng.IntN(2) == 0, Value: []byte(fmt.Sprint(k.rng.IntN(4)))}
			}
		}
		if _, err := crdt.Resolve(op); err == nil && (op.Verb != kv.VerbReset || k.rng.IntN(4) == 0) {
			return op
		}
	}
}

// text is one that nobody else writes.
func (k *caller) text() []byte { return []byte(fmt.Sprint("v", k.next.Add(1))) }

func (k *caller) randomQuery() kv.Query {
	o, p := k.place()
	q := kv.Query{Object: o, Path: p}
	if leaf := leafOf(o, p); (leaf == crdt.SetAW || leaf == crdt.SetRW || leaf == crdt.SetGO) && k.rng.IntN(2) == 0 {
		q.Kind, q.Data = kv.QueryContains, []byte(fmt.Sprint(k.rng.IntN(4)))
	}
	return q
}

func leafOf(o kv.Object, p kv.Path) kv.Type {
	if len(p) > 0 {
		return p[len(p)-1].Type
	}
	return o.Type
}

// op is where an operation is on, in the history's words.
func op(do history.Do, o kv.Object, p kv.Path) history.Op {
	out := history.Op{Do: do, Bucket: "", Key: string(o.Key), Type: crdt.Name(o.Type)}
	for _, s := range p {
		out.Path = append(out.Path, history.Step{Name: s.Name, Type: crdt.Name(s.Type)})
	}
	return out
}

var verbs = map[kv.Verb]history.Do{
	kv.VerbIncrement: history.Add, kv.VerbAssign: history.Assign, kv.VerbEnable: history.Enable, kv.VerbDisable: history.Disable,
	kv.VerbAdd: history.Insert, kv.VerbRemove: history.Remove, kv.VerbReset: history.Reset,
}

func wrote(o kv.Op) history.Op {
	out := op(verbs[o.Verb], o.Object, o.Path)
	switch o.Verb {
	case kv.VerbIncrement:
		out.Arg = &history.Value{Int: o.Int}
	case kv.VerbAssign:
		out.Arg = &history.Value{Text: string(o.Data)}
		if e := o.Expect; e != nil && e.Absent {
			out.Expect = &history.Value{Absent: true}
		} else if e != nil {
			out.Expect = &history.Value{Text: string(e.Value)}
		}
	case kv.VerbAdd, kv.VerbRemove:
		out.Element = string(o.Data)
	}
	return out
}

func asked(q kv.Query) history.Op {
	if q.Kind == kv.QueryContains {
		out := op(history.Contains, q.Object, q.Path)
		out.Element = string(q.Data)
		return out
	}
	return op(history.Get, q.Object, q.Path)
}

// value is an answer in the history's words.
func value(v kv.Value) *history.Value {
	out := &history.Value{Absent: !v.Present, Int: v.Int, Flag: v.Flag, Text: string(v.Bytes)}
	for _, e := range v.List {
		out.List = append(out.List, string(e))
	}
	for _, f := range v.Fields {
		out.Fields = append(out.Fields, history.Field{Name: f.Name, Type: crdt.Name(f.Value.Type), Value: *value(f.Value)})
	}
	return out
}

func vector(v clock.Vector) history.Vector {
	out := history.Vector{}
	for _, e := range v {
		out[int(e.Region)] = uint64(e.Time)
	}
	return out
}
