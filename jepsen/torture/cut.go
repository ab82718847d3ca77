package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/theriac-db/theriac/kv"
)

// Cuts says how to cut the power of simulated regions again and again.
type Cuts struct {
	Dir   string // where a world that fails is kept
	Tally *Tally // of what happened

	serve func(kv.Service) kv.Service // tests: what stands in front of every node
}

// Wanted lists what a run of cuts is to have hit.
func (c *Cuts) Wanted() []string {
	wanted := []string{
		"cuts: while what a cut in opening had left was opened", "cuts: two regions at once", "cuts: all regions at once",
		"cuts: a joiner while it joins", "cuts: a region that a joiner copies from", "cuts: " + shotCopy,
		"checkpoints that were finished before the cut",
		"calls that failed", "tokens honoured", "tokens lost", "outcomes asked: applied", "outcomes asked: not applied", "outcomes asked again",
		"listings of everything", "removals of large sets",
	}
	for _, s := range shots() {
		wanted = append(wanted, "cuts: "+s.name)
	}
	return wanted
}

// kinds of worlds, by how many of twenty are such.
var worlds = []struct {
	name string
	of20 int
	run  func(w *world, ctx context.Context) error
}{
	{"one region", 13, (*world).solo},
	{"three regions", 4, (*world).trio},
	{"a region that joins", 3, (*world).joining},
}

// World makes a world from a seed, and lets it go through its life. It is to be called in a bubble of
// testing/synctest: all its time is simulated.
func (c *Cuts) World(ctx context.Context, seed uint64) error {
	w := newWorld(c, seed)
	kind := rand.New(rand.NewPCG(seed, 5)).IntN(20)
	for _, k := range worlds {
		if kind -= k.of20; kind < 0 {
			c.Tally.Add("worlds: "+k.name, 1)
			err := k.run(w, ctx)
			if err != nil {
				err = fmt.Errorf("%s, seed %d, cut %d: %w%s", k.name, seed, w.cuts, err, w.keep())
			}
			w.close()
			return err
		}
	}
	panic("torture: the kinds of worlds are more than twenty")
}

// keep writes the disks and logs of a world that failed to a folder, and says where.
func (w *world) keep() string {
	dir := filepath.Join(w.Dir, fmt.Sprintf("world-%d", w.seed))
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "\nnot kept: " + err.Error()
	}
	if err := os.WriteFile(filepath.Join(dir, "book"), []byte(w.book.Dump()), 0o600); err != nil {
		return "\nnot kept: " + err.Error()
	}
	for _, s := range w.sites {
		if err := os.WriteFile(filepath.Join(dir, s.name+".log"), []byte(s.log.String()), 0o600); err != nil {
			return "\nnot kept: " + err.Error()
		}
		if _, err := vfs.Clone(s.disk, vfs.Default, s.name, filepath.Join(dir, s.name)); err != nil {
			return "\nthe disk of " + s.name + " is not kept: " + err.Error()
		}
	}
	return "\ndisks and logs are kept in " + dir
}

// any is a shot of some kind.
func (w *world) any(early bool) *shot {
	var of []shot
	for _, s := range shots() {
		if s.early == early && (s.name != shotTruncation || w.chance(4)) {
			of = append(of, s)
		}
	}
	return &of[w.random.IntN(len(of))]
}

// perhaps is an early shot in one of three times.
func (w *world) perhaps() *shot {
	if w.chance(3) {
		return w.any(true)
	}
	return nil
}

// solo is the life of one region.
func (w *world) solo(ctx context.Context) error {
	s := w.add("eu")
	for range 5 + w.random.IntN(25) {
		if err := w.switchOn(ctx, s, w.perhaps()); err != nil {
			return err
		}
		if err := w.verify(ctx); err != nil {
			return err
		}
		if err := w.shoot(ctx, s, *w.any(false)); err != nil {
			return err
		}
		s.bury()
		w.cycle++
		if w.chance(8) {
			if err := w.copied(s); err != nil {
				return err
			}
		}
	}
	return w.lastly(ctx)
}

// lastly starts what is off, verifies once more, and adds up what became of all transactions.
func (w *world) lastly(ctx context.Context) error {
	for _, s := range w.sites {
		if s.run == nil {
			if err := w.switchOn(ctx, s, nil); err != nil {
				return err
			}
		}
	}
	if err := w.verify(ctx); err != nil {
		return err
	}
	for what, n := range w.book.Counts() {
		w.Tally.Add("transactions "+what, n)
	}
	return nil
}

// trio is the life of three regions.
func (w *world) trio(ctx context.Context) error {
	for _, name := range []string{"eu", "us", "ap"} {
		if err := w.switchOn(ctx, w.add(name), w.perhaps()); err != nil {
			return err
		}
	}
	return w.together(ctx, 2+w.random.IntN(6))
}

// together cuts one, two or all regions of a cluster at once, so many times.
func (w *world) together(ctx context.Context, times int) error {
	for range times {
		if err := w.verify(ctx); err != nil {
			return err
		}
		if err := w.volley(ctx); err != nil {
			return err
		}
		for _, i := range w.random.Perm(len(w.sites)) {
			if s := w.sites[i]; s.run == nil {
				if err := w.switchOn(ctx, s, w.perhaps()); err != nil {
					return err
				}
			}
		}
		w.cycle++
	}
	return w.lastly(ctx)
}

// volley lets all regions work, and cuts the power of one and perhaps, in the same moment, of others.
func (w *world) volley(ctx context.Context) error {
	order := w.random.Perm(len(w.sites))
	victim, what := w.sites[order[0]], *w.any(false)
	for _, s := range w.sites {
		if s != victim {
			if _, err := w.begin(ctx, s, false, what.lasts()); err != nil {
				return err
			}
		}
	}
	if err := w.shoot(ctx, victim, what); err != nil {
		return err
	}
	n := 1 + w.random.IntN(len(w.sites))
	for _, i := range order[1:n] {
		w.sites[i].run.cutNow()
		w.cut(w.sites[i], "with another region")
	}
	switch {
	case n == len(w.sites):
		w.Tally.Add("cuts: all regions at once", 1)
	case n > 1:
		w.Tally.Add("cuts: two regions at once", 1)
	}
	for _, i := range order[:n] {
		w.sites[i].bury()
	}
	if w.chance(2) {
		pause(ctx, longestLoad/2) // those that are left go on for a while
	}
	return nil
}

// joining has a third region join two that work, while its power, or that of one that it copies from, is
// cut.
func (w *world) joining(ctx context.Context) error {
	for _, name := range []string{"eu", "us"} {
		if err := w.switchOn(ctx, w.add(name), nil); err != nil {
			return err
		}
	}
	for _, s := range w.sites {
		if _, err := w.begin(ctx, s, w.chance(2), false); err != nil {
			return err
		}
	}
	pause(ctx, longestLoad)
	if err := w.join(ctx, w.add("ap")); err != nil {
		return err
	}
	w.cycle++ // the loads to come are others
	return w.together(ctx, 1+w.random.IntN(3))
}

// join starts a region that joins until it has joined.
func (w *world) join(ctx context.Context, joiner *site) error {
	source := w.sites[w.random.IntN(2)]
	cut := shot{name: "a joiner while it joins", early: true, upTo: 400}
	if w.chance(2) {
		return w.switchOn(ctx, joiner, &cut)
	}
	done := make(chan error, 1)
	go func() { done <- w.switchOn(ctx, joiner, nil) }()
	source.run.arm(shot{upTo: 60})
	w.wait(source, nil, longestLoad)
	source.run.cutNow()
	w.cut(source, "a region that a joiner copies from")
	source.bury()
	err := w.switchOn(ctx, source, nil)
	if joined := <-done; joined != nil {
		return joined
	}
	return err
}
