package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/client"
)

// oneSeatAnywhere: what a compare-and-set can't promise between regions, a strong one does.
func (t *tour) oneSeatAnywhere(ctx context.Context) error {
	t.title(5, "Precondition, anywhere. Callers in all three regions want seat 14C, by strong transactions.")
	t.command("ap", "register set seat/14C anna --if-absent --consistency strong")
	var wins atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, 3*len(regions))
	took, _ := timed(func() error {
		for i := range errs {
			region := regions[i%len(regions)]
			wg.Go(func() {
				err := t.db(region).Register("seat/14C").CompareAndSet(ctx, nil, fmt.Appendf(nil, "passenger %d in %s", i, region), client.Strong())
				switch {
				case err == nil:
					wins.Add(1)
				case !errors.Is(err, client.ErrAborted):
					errs[i] = err
				}
			})
		}
		wg.Wait()
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if wins.Load() != 1 {
		return broken("%d callers got the seat", wins.Load())
	}
	t.claim("one of nine callers got it, wherever they asked; it took %d ms, which is round trips to a majority", took.Milliseconds())
	return nil
}

// question is one level, and who must answer at it while ap is cut off.
type question struct {
	level   string
	options client.CallOption
	alone   bool // a region that is cut off answers
}

// cutFor is how long ap is cut off before it is asked, askFor how long it may take to answer.
const cutFor, askFor = 3 * time.Second, 2 * time.Second

// askEveryLevel: the same question at each level, in a region that is connected and in one that is cut off.
func (t *tour) askEveryLevel(ctx context.Context) error {
	t.title(7, "Levels. ap is cut off again, and the same question is asked at every level in eu and in ap.")
	t.command("ap", "counter get stock --consistency bounded:1s --receipt")
	if err := t.db("ap").Counter("stock").Add(ctx, 3); err != nil {
		return err
	}
	if _, err := t.converge(ctx); err != nil {
		return err
	}
	t.cluster.Isolate("ap")
	defer t.cluster.Rejoin("ap")
	if err := t.db("eu").Counter("stock").Add(ctx, -1); err != nil {
		return err
	}
	if err := wait(ctx, cutFor); err != nil {
		return err
	}
	for _, q := range []question{
		{"eventual", client.Eventual(), true}, {"causal", client.Causal(), true}, {"bounded:1s", client.BoundedOrFail(time.Second), false},
		{"quorum", client.Quorum(), false}, {"strong", client.Strong(), false},
	} {
		for _, region := range []string{"eu", "ap"} {
			if err := t.askAt(ctx, q, region); err != nil {
				return err
			}
		}
	}
	t.claim("eu and us are a majority and answer at every level, but at bounded, which asks for news of every region;")
	t.say("       ap alone answers at eventual and causal, and at the other levels says that it can't: nothing is weakened in silence")
	return nil
}

// askAt asks one region at one level, and says who answered, how fast, how fresh, or why not.
func (t *tour) askAt(ctx context.Context, q question, region string) error {
	limited, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	var r client.Receipt
	var stock int64
	took, err := timed(func() (err error) {
		stock, err = t.db(region).Counter("stock").Get(limited, q.options, client.WithReceipt(&r))
		return err
	})
	ms := float64(took.Microseconds()) / 1000
	answers := q.alone || region == "eu" && q.level != "bounded:1s"
	switch {
	case answers && err != nil:
		return fmt.Errorf("%s at level %s: %w", region, q.level, err)
	case !answers && err == nil:
		return broken("%s answers at level %s although it can't know", region, q.level)
	case err != nil:
		t.say(fmt.Sprintf("   %-10s %s refuses after %.1f ms: %s", q.level, region, ms, kind(err)))
		return nil
	}
	if want := map[string]int64{"eu": 2, "ap": 3}[region]; stock != want {
		return broken("%s reads a stock of %d, and must read %d", region, stock, want)
	}
	t.say(fmt.Sprintf("   %-10s %s says %d after %.1f ms; it may lack what others wrote in the last %s", q.level, region, stock, ms, oldest(&r)))
	return nil
}

// kind is the refusal in a word.
func kind(err error) string {
	switch {
	case errors.Is(err, client.ErrStale):
		return "stale: of some region it has heard nothing new for longer than that"
	case errors.Is(err, client.ErrUnavailable), errors.Is(err, client.ErrDeadline):
		return "unavailable: no majority of the regions is in reach"
	}
	return err.Error()
}

// oldest is the largest age in a receipt.
func oldest(r *client.Receipt) string {
	ages := slices.DeleteFunc(slices.Clone(r.Staleness), func(s client.RegionStaleness) bool { return s.Region == 0 }) // which is none
	if len(ages) == 0 {
		return "?"
	}
	worst := slices.MaxFunc(ages, func(a, b client.RegionStaleness) int { return int(a.Age - b.Age) })
	return fmt.Sprintf("%d ms (%s)", worst.Age.Milliseconds(), worst.Name)
}

// wait lets time pass.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
