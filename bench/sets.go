package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
)

const (
	smallSet   = 10 // elements of a small set at first
	bigSetName = "big"
	setCallers = 8
	// pagingBytes is what paging through a set may hold on to: a few pages of kv.MaxPageBytes.
	pagingBytes = 4 * kv.MaxPageBytes
)

func element(i int) string   { return fmt.Sprintf("element-%012d", i) } // keySize bytes
func smallName(i int) string { return fmt.Sprintf("small-%08d", i) }

// sets is a store with one large set and as many elements again in small ones.
type sets struct {
	e     *Env
	db    *client.DB
	small int // number of small sets
	fresh atomic.Int64
}

// largeSet compares a large set with small ones in the same store, and pages through it.
func largeSet(ctx context.Context, e *Env) (figures []Figure, err error) {
	db, stop, err := e.Open(ctx, e.Dir+"/ours", Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	s := &sets{e: e, db: db, small: max(e.Elements/smallSet, 1)}
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	paging, err := s.paging(ctx) // first, as the adds make the set larger
	if err != nil {
		return nil, err
	}
	size := number(float64(e.Elements))
	for _, c := range []struct {
		what         string
		large, small side
	}{
		{"adding to a set of " + size + " elements", s.add(s.big), s.add(s.pick)},
		{"testing membership in a set of " + size + " elements", s.contains(s.big), s.contains(s.pick)},
	} {
		f, err := compare(ctx, e.Rounds, c.large, c.small)
		if err != nil {
			return figures, err
		}
		f.What, f.Unit, f.Goal = c.what, "ns", atMost(1.2)
		f.Note = fmt.Sprintf("the same in sets of %d elements in the same store", smallSet)
		figures = append(figures, f)
	}
	return append(figures, paging), nil
}

func (s *sets) load(ctx context.Context) error {
	batches := (s.e.Elements + loadBatch - 1) / loadBatch
	err := each(ctx, batches, loaders, func(ctx context.Context, i int) error {
		var elements []string
		for j := i * loadBatch; j < min((i+1)*loadBatch, s.e.Elements); j++ {
			elements = append(elements, element(j))
		}
		return s.db.Set(bigSetName).AddAll(ctx, elements, client.Durable(client.Applied))
	})
	if err != nil {
		return err
	}
	const perTxn = loadBatch / smallSet
	return each(ctx, (s.small+perTxn-1)/perTxn, loaders, func(ctx context.Context, i int) error {
		return s.db.Update(ctx, func(tx *client.Tx) error {
			for j := i * perTxn; j < min((i+1)*perTxn, s.small); j++ {
				var elements []string
				for k := range smallSet {
					elements = append(elements, element(k))
				}
				if err := tx.Set(smallName(j)).AddAll(ctx, elements); err != nil {
					return err
				}
			}
			return nil
		}, client.Durable(client.Applied))
	})
}

// big and pick choose a set and one of its first elements.
func (s *sets) big(random *rand.Rand) (set, member string) {
	return bigSetName, element(random.IntN(s.e.Elements))
}

func (s *sets) pick(random *rand.Rand) (set, member string) {
	return smallName(random.IntN(s.small)), element(random.IntN(smallSet))
}

// add measures a blind add of a new element, in nanoseconds of one caller of several.
func (s *sets) add(choose func(*rand.Rand) (string, string)) side {
	return func(ctx context.Context) (float64, error) {
		rate, err := perSecond(ctx, setCallers, s.e.Slice, func(ctx context.Context, random *rand.Rand) error {
			name, _ := choose(random)
			return s.db.Set(name).Add(ctx, element(s.e.Elements+int(s.fresh.Add(1))), client.Durable(client.Applied))
		})
		return setCallers * 1e9 / rate, err
	}
}

func (s *sets) contains(choose func(*rand.Rand) (string, string)) side {
	return func(ctx context.Context) (float64, error) {
		rate, err := perSecond(ctx, 1, s.e.Slice, func(ctx context.Context, random *rand.Rand) error {
			name, member := choose(random)
			there, err := s.db.Set(name).Contains(ctx, member)
			if err == nil && !there {
				err = fmt.Errorf("%s misses %s", name, member)
			}
			return err
		})
		return 1e9 / rate, err
	}
}

// paging measures by how much the live heap grows while an iterator goes through the large set.
func (s *sets) paging(ctx context.Context) (Figure, error) {
	count, most := 0, uint64(0)
	before := liveHeap()
	step := max(s.e.Elements/20, 1)
	for _, err := range s.db.Set(bigSetName).Elements(ctx) {
		if err != nil {
			return Figure{}, err
		}
		if count++; count%step == 0 {
			most = max(most, liveHeap())
		}
	}
	if count < s.e.Elements {
		return Figure{}, fmt.Errorf("paging found %d elements of %d", count, s.e.Elements)
	}
	grown := max(float64(most)-float64(before), 0) / 1024
	return alone(fmt.Sprintf("memory of paging through %s elements", number(float64(count))), "KiB", grown,
		atMostOurs(pagingBytes/1024), "growth of the live heap; a page has at most 1,000 elements here"), nil
}

func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
