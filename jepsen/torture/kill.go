package torture

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// Kills says how to kill a real node again and again.
type Kills struct {
	Binary string // the theriac command
	Dir    string // where folders are made; those that fail stay
	Seed   uint64
	Count  int    // kills
	Slow   int    // of them, at slow aims
	Tally  *Tally // of what happened
	// Until is when the run ends, however many kills there were; zero: never.
	Until time.Time
}

// over reports whether a run is to end before its count.
func over(until time.Time) bool { return !until.IsZero() && time.Now().After(until) }

// life is how many kills a folder goes through: most are young, some grow old.
func life(random *rand.Rand) int {
	if random.IntN(8) == 0 {
		return 60 + random.IntN(140)
	}
	return 3 + random.IntN(25)
}

// Run kills nodes, one folder after the other, each until its life ends. It returns what is wrong with the
// first that failed, and where that is.
func (k *Kills) Run(ctx context.Context) error {
	random := rand.New(rand.NewPCG(k.Seed, 1))
	var quick, slow []Aim
	for _, a := range Aims() {
		if a.Slow {
			slow = append(slow, a)
		} else {
			quick = append(quick, a)
		}
	}
	lanes, ctx := errgroup.WithContext(ctx)
	quick, slow = inTurn(random, quick, k.Count-k.Slow), inTurn(random, slow, k.Slow)
	lanes.Go(func() error { return k.lane(ctx, 1, quick) })
	for i := range slowLanes {
		n := len(slow) / (slowLanes - i)
		part := slow[:n]
		slow = slow[n:]
		lanes.Go(func() error { return k.lane(ctx, 2+i, part) })
	}
	return lanes.Wait()
}

// slowLanes is how many folders wait for slow aims at the same time: they do little meanwhile.
const slowLanes = 3

// lane goes through aims in one folder after the other.
func (k *Kills) lane(ctx context.Context, lane int, aims []Aim) error {
	random := rand.New(rand.NewPCG(k.Seed, uint64(lane)))
	for number := lane << 16; len(aims) > 0 && !over(k.Until); number++ {
		n := min(life(random), len(aims))
		if err := k.folder(ctx, number, aims[:n]); err != nil {
			return err
		}
		aims = aims[n:]
	}
	return nil
}

// inTurn takes n aims, every one in turn, and mixes them.
func inTurn(random *rand.Rand, of []Aim, n int) []Aim {
	var plan []Aim
	for i := range n {
		plan = append(plan, of[i%len(of)])
	}
	random.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	return plan
}

// Wanted lists what a run of kills is to have hit.
func (k *Kills) Wanted() []string {
	wanted := []string{"kills: frozen", "calls that failed", "tokens honoured", "outcomes asked: applied", "outcomes asked: not applied",
		"outcomes asked again", "listings of everything", "removals of large sets"}
	for _, a := range Aims() {
		if !a.Slow || k.Slow > 0 {
			wanted = append(wanted, "kills: aimed at "+a.Name)
		}
	}
	return wanted
}

// killAt waits for the moment and kills the node. One of three is stopped first and looked at.
func (f *folder) killAt(aim Aim, w *watcher, removing <-chan struct{}) error {
	hit := f.await(aim, w, removing)
	f.pause(aim.After(f.random))
	if f.random.IntN(3) == 0 && f.node.alive() {
		if err := f.node.freeze(); err != nil && f.node.alive() {
			return err
		}
		f.Tally.Add("kills: frozen", 1)
		for kind := range f.node.writing(filepath.Join(f.dir, "data")) {
			f.Tally.Add("frozen with open to write: "+kind, 1)
		}
	}
	err := f.node.kill()
	if aim.Name == AimStop && f.node.err == nil {
		f.Tally.Add("orderly stops that were quicker than the kill", 1)
		err = nil
	}
	f.stopLoad()
	f.Tally.Add("kills", 1)
	if hit {
		f.Tally.Add("kills: aimed at "+aim.Name, 1)
	} else {
		f.Tally.Add("kills: at some other moment", 1)
	}
	return err
}

// await waits for what an aim follows, and tells whether it came.
func (f *folder) await(aim Aim, w *watcher, removing <-chan struct{}) bool {
	if aim.Name != AimRemoval {
		removing = nil
	}
	if removing == nil && aim.Event == nil {
		return true
	}
	var events <-chan fileEvent
	if w != nil {
		events = w.events
	}
	timer := time.NewTimer(longest)
	defer timer.Stop()
	late := f.random.IntN(4) // of events of a running node not always the first
	for {
		select {
		case e := <-events:
			if aim.Event == nil || !aim.Event(e) {
				continue
			}
			if late--; late < 0 || aim.Early {
				return true
			}
		case <-removing:
			return true
		case <-f.node.ended:
			return false
		case <-timer.C:
			return false
		}
	}
}
