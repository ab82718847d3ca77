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

// mergeConcurrentWrites: every region writes the same objects at once.
func (t *tour) mergeConcurrentWrites(ctx context.Context) error {
	t.title(1, "Concurrent writes merge. All regions write the same objects at the same time.")
	t.command("eu", "counter add likes 10")
	t.command("us", "set add cart milk")
	t.command("ap", "counter get likes")
	var wg sync.WaitGroup
	errs := make([]error, len(regions))
	for i, r := range regions {
		wg.Go(func() {
			errs[i] = errors.Join(
				t.db(r).Counter("likes").Add(ctx, 10),
				t.db(r).Set("cart").Add(ctx, "from-"+r),
				t.db(r).MVRegister("title").SetString(ctx, "as "+r+" sees it"))
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	took, err := t.converge(ctx)
	if err != nil {
		return err
	}
	for _, r := range regions {
		likes, err := t.db(r).Counter("likes").Get(ctx)
		if err != nil {
			return err
		}
		cart, err := t.db(r).Set("cart").Members(ctx)
		if err != nil {
			return err
		}
		titles, err := t.db(r).MVRegister("title").Get(ctx)
		if err != nil {
			return err
		}
		if likes != 30 || len(cart) != 3 || len(titles) != 3 {
			return broken("%s has likes %d, cart %v and %d titles; 30, three elements and three titles were written", r, likes, cart, len(titles))
		}
	}
	t.claim("%d ms later every region has likes = 30, all three elements, and all three titles: nothing was lost", took.Milliseconds())
	return nil
}

// keepOrder: first the prescription, then the pointer to it.
func (t *tour) keepOrder(ctx context.Context) error {
	t.title(2, "Order. A doctor in eu writes a prescription, then the pointer to it.")
	t.command("eu", `register set prescription/7 "ibuprofen 400"`)
	t.command("eu", "set add patient/anna 7")
	took, err := timed(func() error {
		s := t.db("eu").Session()
		if err := s.Register("prescription/7").SetString(ctx, "ibuprofen 400"); err != nil {
			return err
		}
		return s.Set("patient/anna").Add(ctx, "7")
	})
	if err != nil {
		return err
	}
	written := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]time.Duration{}
	var failed error
	for _, r := range []string{"us", "ap"} {
		wg.Go(func() {
			_, err := t.eventually(ctx, "the pointer is seen in "+r, func() (bool, error) { return t.pointer(ctx, r) })
			mu.Lock()
			defer mu.Unlock()
			seen[r], failed = time.Since(written), errors.Join(failed, err)
		})
	}
	wg.Wait()
	if failed != nil {
		return failed
	}
	t.claim("both writes took %.1f ms in eu; us saw the pointer %d ms later, ap %d ms, and never without the prescription",
		float64(took.Microseconds())/1000, seen["us"].Milliseconds(), seen["ap"].Milliseconds())
	return nil
}

// pointer reads the pointer and, in the same session, what it points to.
func (t *tour) pointer(ctx context.Context, region string) (bool, error) {
	s := t.db(region).Session()
	there, err := s.Set("patient/anna").Contains(ctx, "7")
	if err != nil || !there {
		return false, err
	}
	text, err := s.Register("prescription/7").GetString(ctx)
	if err == nil && text != "ibuprofen 400" {
		err = broken("%s sees the pointer, and the prescription is %q", region, text)
	}
	return true, err
}

// stayTogether: a transfer is seen whole or not at all, everywhere.
func (t *tour) stayTogether(ctx context.Context) error {
	t.title(3, "Together or not at all. Transfers between two accounts, watched from everywhere.")
	t.say("   $ printf 'counter add alice -1\\ncounter add bob 1\\n' | theriac --insecure --addr " + t.address("us") + " txn -")
	if err := t.db("eu").Counter("alice").Add(ctx, 100); err != nil {
		return err
	}
	if _, err := t.converge(ctx); err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var looks atomic.Int64
	watched := make(chan error, len(regions))
	for _, r := range regions {
		go func() { watched <- t.watchSum(watching, r, &looks) }()
	}
	for i := range 60 {
		if err := t.transfer(ctx, regions[i%len(regions)], 1); err != nil {
			return err
		}
	}
	if _, err := t.converge(ctx); err != nil {
		return err
	}
	stop()
	for range regions {
		if err := <-watched; err != nil {
			return err
		}
	}
	if looks.Load() == 0 {
		return broken("nobody watched")
	}
	bob, err := t.db("ap").Counter("bob").Get(ctx)
	if err != nil {
		return err
	}
	if bob != 60 {
		return broken("60 transfers of 1 gave bob %d", bob)
	}
	t.claim("60 transfers from three regions; in each of %d snapshots the accounts held 100 together", looks.Load())
	return nil
}

func (t *tour) transfer(ctx context.Context, region string, n int64) error {
	return t.db(region).Update(ctx, func(tx *client.Tx) error {
		if err := tx.Counter("alice").Add(ctx, -n); err != nil {
			return err
		}
		return tx.Counter("bob").Add(ctx, n)
	})
}

// watchSum reads both accounts at one snapshot, again and again.
func (t *tour) watchSum(ctx context.Context, region string, looks *atomic.Int64) error {
	for ctx.Err() == nil {
		err := t.db(region).View(ctx, func(tx *client.Tx) error {
			alice, err := tx.Counter("alice").Get(ctx)
			if err != nil {
				return err
			}
			bob, err := tx.Counter("bob").Get(ctx)
			if err == nil && alice+bob != 100 {
				err = broken("%s sees alice %d and bob %d", region, alice, bob)
			}
			return err
		})
		if err != nil && ctx.Err() == nil {
			return err
		}
		looks.Add(1)
	}
	return nil
}

// checkPrecondition: "only if", within a region.
func (t *tour) checkPrecondition(ctx context.Context) error {
	t.title(4, "Precondition. Twenty callers in eu want seat 12A; it is assigned only while it is free.")
	t.command("eu", "register set seat/12A anna --if-absent")
	var wins atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		wg.Go(func() {
			err := t.db("eu").Register("seat/12A").CompareAndSet(ctx, nil, fmt.Appendf(nil, "passenger %d", i))
			switch {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, client.ErrAborted):
				errs[i] = err
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if wins.Load() != 1 {
		return broken("%d callers got the seat", wins.Load())
	}
	t.claim("one caller got it, nineteen were told no. At level causal a compare-and-set holds within one region")
	return nil
}

// surviveCut: a region that is cut off goes on serving.
func (t *tour) surviveCut(ctx context.Context) error {
	t.title(6, "A cut. ap loses all its links; everybody goes on reading and writing.")
	t.cluster.Isolate("ap")
	var worst time.Duration
	for range 20 {
		for _, r := range regions {
			took, err := timed(func() error {
				return errors.Join(t.db(r).Counter("orders").Add(ctx, 1), t.db(r).Set("orders").Add(ctx, "order-from-"+r))
			})
			if err != nil {
				return err
			}
			worst = max(worst, took)
		}
	}
	cutOff, err := t.db("ap").Counter("orders").Get(ctx)
	if err != nil {
		return err
	}
	if cutOff != 20 {
		return broken("ap is cut off and reads %d orders; it took 20 itself", cutOff)
	}
	t.claim("ap took 20 orders on its own and reads exactly these; the slowest write anywhere took %.1f ms", float64(worst.Microseconds())/1000)
	t.cluster.Rejoin("ap")
	took, err := t.converge(ctx)
	if err != nil {
		return err
	}
	orders, err := t.db("ap").Counter("orders").Get(ctx)
	if err != nil {
		return err
	}
	if orders != 60 {
		return broken("after healing ap reads %d orders of 60", orders)
	}
	t.command("ap", "digest")
	t.claim("%d ms after healing all three digests are equal, and ap reads all 60 orders", took.Milliseconds())
	return nil
}

// surviveCrash: a power cut loses nothing that was acknowledged.
func (t *tour) surviveCrash(ctx context.Context) error {
	t.title(8, "A crash. us loses power right after it has acknowledged a write; what was not synced is gone.")
	if err := t.db("us").Register("last").SetString(ctx, "acknowledged"); err != nil {
		return err
	}
	t.cluster.Crash("us")
	if err := t.db("eu").Set("cart").Remove(ctx, "from-us"); err != nil {
		return err
	}
	took, err := timed(func() error { return t.cluster.Restart(ctx, "us") })
	if err != nil {
		return fmt.Errorf("restarting us: %w", err)
	}
	text, err := t.db("us").Register("last").GetString(ctx)
	if err != nil {
		return err
	}
	if text != "acknowledged" {
		return broken("us reads %q after its crash", text)
	}
	t.claim("us is back after %d ms and has the write", took.Milliseconds())
	caught, err := t.converge(ctx)
	if err != nil {
		return err
	}
	cart, err := t.db("us").Set("cart").Members(ctx)
	if err != nil {
		return err
	}
	if slices.Contains(cart, "from-us") {
		return broken("us still has the element that eu removed meanwhile")
	}
	t.claim("%d ms later it has also what eu wrote meanwhile, and all digests are equal", caught.Milliseconds())
	return nil
}
