package embedded

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// What three regions answer is compared with what the types are specified to be: a function of the
// operations that a snapshot sees and of who had seen whom. It is taken from the receipts alone and computed
// by comparing every operation with every other, so it shares no code with folds, rewrites or the index of
// removals, and needs no region to agree with another one.

// happened is one operation that was answered.
type happened struct {
	txn, index int
	stamp      clock.Stamp
	snapshot   clock.Vector
	leaf       string // or what a reset removes; see leafName
	typ        kv.Type
	verb       kv.Verb
	n          int64
	data       string
}

func (e *happened) sees(f *happened) bool {
	return f.stamp.Time <= e.snapshot.At(f.stamp.Region) || e.txn == f.txn && f.index < e.index
}

// answered is what a region showed at a snapshot.
type answered struct {
	where  string
	at     clock.Vector
	values map[string]string
}

type specRun struct {
	t       *testing.T
	c       *Cluster
	queries []kv.Query

	mu      sync.Mutex
	txns    int
	history []*happened
	answers []answered
}

func leafName(o kv.Object, p kv.Path) string {
	s := fmt.Sprintf("%s %s", o.Key, crdt.Name(o.Type))
	for _, step := range p {
		s += stepName(step)
	}
	return s
}

func stepName(s kv.Step) string { return fmt.Sprintf("/%s %s", s.Name, crdt.Name(s.Type)) }

// specTypes are drawn from; maps come often, since they hold all others.
var specTypes = append(crdt.Types(), crdt.Map, crdt.Map)

// randomOp draws an operation that its type has.
func randomOp(r *rand.Rand) kv.Op {
	for {
		op := kv.Op{Object: kv.Object{Bucket: kv.DefaultBucket, Key: kv.Key("k" + fmt.Sprint(r.IntN(2))), Type: specTypes[r.IntN(len(specTypes))]}}
		typ := op.Type
		for depth := 0; depth < 2 && (typ == crdt.Map || typ == crdt.MapGO) && r.IntN(5) > 0; depth++ {
			typ = specTypes[r.IntN(len(specTypes))]
			op.Path = append(op.Path, kv.Step{Name: fmt.Sprint(r.IntN(2)), Type: typ})
		}
		op.Verb, op.Data = kv.Verb(1+r.IntN(int(kv.VerbReset))), []byte(fmt.Sprint(r.IntN(3)))
		switch op.Verb {
		case kv.VerbIncrement:
			op.Int, op.Data = int64(r.IntN(9)-3), nil
		case kv.VerbEnable, kv.VerbDisable, kv.VerbReset:
			op.Data = nil
		}
		if _, err := crdt.Resolve(op); err == nil && (op.Verb != kv.VerbReset || r.IntN(4) == 0) {
			return op
		}
	}
}

// note enters a transaction that was answered.
func (s *specRun) note(receipt client.Receipt, ops []kv.Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.txns++
	for i, op := range ops {
		e := &happened{txn: s.txns, index: i, stamp: receipt.Commit, snapshot: receipt.Snapshot, leaf: leafName(op.Object, op.Path), typ: op.Type, verb: op.Verb, n: op.Int, data: string(op.Data)}
		if len(op.Path) > 0 {
			e.typ = op.Path[len(op.Path)-1].Type
		}
		if step, ok := crdt.Element(e.typ, op.Data); ok && op.Verb != kv.VerbReset {
			e.leaf, e.typ = e.leaf+stepName(step), step.Type
			e.verb = map[kv.Verb]kv.Verb{kv.VerbAdd: kv.VerbEnable, kv.VerbRemove: kv.VerbDisable}[op.Verb]
		}
		s.history = append(s.history, e)
	}
}

// look notes what a region shows.
func (s *specRun) look(where string, do func(context.Context, []client.Op, []client.Query, ...client.CallOption) ([]client.Value, error)) error {
	var receipt client.Receipt
	values, err := do(s.t.Context(), nil, s.queries, client.WithReceipt(&receipt))
	if err != nil {
		return err
	}
	a := answered{where, receipt.Snapshot, map[string]string{}}
	for i, v := range values {
		a.put(leafName(s.queries[i].Object, nil), v)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = append(s.answers, a)
	return nil
}

func (a *answered) put(name string, v kv.Value) {
	switch {
	case crdt.IsCollection(v.Type):
		for _, e := range v.List {
			step, _ := crdt.Element(v.Type, e)
			a.values[name+stepName(step)] = "on"
		}
		for _, f := range v.Fields {
			a.put(name+stepName(kv.Step{Name: f.Name, Type: f.Value.Type}), f.Value)
		}
	case !v.Present:
	case v.Type == crdt.Counter:
		a.values[name] = fmt.Sprint(v.Int)
	case v.Type == crdt.RegisterLWW:
		a.values[name] = string(v.Bytes)
	case v.Type == crdt.RegisterMV:
		a.values[name] = fmt.Sprintf("%s", v.List)
	default:
		a.values[name] = "on"
	}
}

// specified is what each present leaf may be at a snapshot. Where it may be several, one group has written
// them: its receipts don't tell which of its transactions comes first.
func (s *specRun) specified(at clock.Vector) map[string][]string {
	leaves, resets := map[string][]*happened{}, []*happened{}
	for _, e := range s.history {
		switch {
		case e.stamp.Time > at.At(e.stamp.Region):
		case e.verb == kv.VerbReset:
			resets = append(resets, e)
		default:
			leaves[e.leaf] = append(leaves[e.leaf], e)
		}
	}
	out := map[string][]string{}
	for name, es := range leaves {
		over := slices.Clone(es)
		for _, r := range resets {
			if name == r.leaf || strings.HasPrefix(name, r.leaf+"/") {
				over = append(over, r)
			}
		}
		if may := values(es, over); len(may) > 0 {
			out[name] = may
		}
	}
	return out
}

// values is the specification of the leaf types; over has all that may cover one of es.
func values(es, over []*happened) []string {
	uncovered := func(want kv.Verb, by ...kv.Verb) []*happened {
		return slices.DeleteFunc(slices.Clone(es), func(f *happened) bool {
			return f.verb != want || slices.ContainsFunc(over, func(e *happened) bool { return slices.Contains(by, e.verb) && e.sees(f) })
		})
	}
	var left []*happened
	switch es[0].typ {
	case crdt.Counter:
		sum := int64(0)
		left = uncovered(kv.VerbIncrement, kv.VerbReset)
		for _, e := range left {
			sum += e.n
		}
		return []string{fmt.Sprint(sum)}[:min(len(left), 1)]
	case crdt.RegisterLWW:
		left = uncovered(kv.VerbAssign, kv.VerbAssign, kv.VerbReset)
		if len(left) == 0 {
			return nil
		}
		winner := slices.MaxFunc(left, func(a, b *happened) int {
			return cmp.Or(cmp.Compare(a.stamp.Time, b.stamp.Time), cmp.Compare(a.stamp.Region, b.stamp.Region))
		}).stamp
		return data(slices.DeleteFunc(left, func(e *happened) bool { return e.stamp != winner }))
	case crdt.RegisterMV:
		left = uncovered(kv.VerbAssign, kv.VerbAssign, kv.VerbReset)
		return []string{fmt.Sprint(data(left))}[:min(len(left), 1)]
	case crdt.FlagEW:
		left = uncovered(kv.VerbEnable, kv.VerbDisable, kv.VerbReset)
	case crdt.FlagDW:
		if all := []kv.Verb{kv.VerbEnable, kv.VerbDisable, kv.VerbReset}; len(uncovered(kv.VerbDisable, all...)) == 0 {
			left = uncovered(kv.VerbEnable, all...)
		}
	}
	return []string{"on"}[:min(len(left), 1)]
}

// data lists what was assigned, sorted, each once.
func data(es []*happened) []string {
	set := map[string]bool{}
	for _, e := range es {
		set[e.data] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// write is one session: transactions of one round trip and interactive ones, and a look now and then.
func (s *specRun) write(where string, r *rand.Rand) error {
	session := s.c.DB(where).Session()
	for range 40 {
		ops := make([]kv.Op, 1+r.IntN(5))
		for i := range ops {
			ops[i] = randomOp(r)
		}
		var receipt client.Receipt
		var err error
		if r.IntN(3) == 0 {
			err = session.Update(s.t.Context(), func(tx *client.Tx) error {
				if _, err := tx.Do(s.t.Context(), nil, s.queries[:1]); err != nil {
					return err
				}
				_, err := tx.Do(s.t.Context(), ops, nil)
				return err
			}, client.WithReceipt(&receipt))
		} else {
			_, err = session.Do(s.t.Context(), ops, nil, client.WithReceipt(&receipt))
		}
		if err != nil {
			return err
		}
		s.note(receipt, ops)
		if r.IntN(8) > 0 {
			continue
		}
		if err := s.look(where+" meanwhile", session.Do); err != nil {
			return err
		}
	}
	return nil
}

// compare judges all answers so far, and returns how many values it has compared.
func (s *specRun) compare() (compared int) {
	for _, a := range s.answers {
		may := s.specified(a.at)
		for name, value := range a.values {
			require.Contains(s.t, may[name], value, "%s: %q at %s", a.where, name, a.at)
		}
		for name := range may {
			require.Contains(s.t, a.values, name, "%s is absent at %s", a.where, a.at)
		}
		compared += len(may)
	}
	s.answers = nil
	return compared
}

func TestRegionsAnswerWhatTheTypesAreSpecifiedToBe(t *testing.T) {
	seed, random := seeded(t)
	s := &specRun{t: t, c: cluster(t, ClusterOptions{})}
	for _, key := range []kv.Key{"k0", "k1"} {
		for _, typ := range crdt.Types() {
			s.queries = append(s.queries, kv.Query{Object: kv.Object{Bucket: kv.DefaultBucket, Key: key, Type: typ}})
		}
	}
	compared := 0
	for round := range *roundsFlag {
		away := s.c.Regions()[random.IntN(len(s.c.Regions()))]
		if round%2 == 0 {
			s.c.Isolate(away)
		}
		var writers sync.WaitGroup
		for i, where := range s.c.Regions() {
			for w := range uint64(2) {
				r := rand.New(rand.NewPCG(seed, uint64(round)<<16|uint64(i)<<8|w))
				writers.Go(func() {
					if err := s.write(where, r); err != nil {
						t.Errorf("%s: %v", where, err)
					}
				})
			}
		}
		writers.Wait()
		if round%3 == 1 {
			s.c.Crash(away)
			restart(t, s.c, away)
		}
		s.c.Rejoin(away)
		_, err := s.c.Converge(within(t))
		require.NoError(t, err)
		for _, where := range s.c.Regions() {
			require.NoError(t, s.look(where+" in the end", s.c.DB(where).Do))
		}
		compared += s.compare()
	}
	require.Greater(t, compared, 100, "what compares nothing proves nothing")
	t.Logf("%d transactions, %d operations, %d values compared", s.txns, len(s.history), compared)
}
