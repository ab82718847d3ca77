package sim

import (
	"context"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/nemesis"
)

// A world is a target of package nemesis.
var (
	_ nemesis.Cutter       = (*world)(nil)
	_ nemesis.Slower       = (*world)(nil)
	_ nemesis.Staller      = (*world)(nil)
	_ nemesis.Resetter     = (*world)(nil)
	_ nemesis.Killer       = (*world)(nil)
	_ nemesis.ClockSetter  = (*world)(nil)
	_ nemesis.Grower       = (*world)(nil)
	_ nemesis.LeaderFinder = (*world)(nil)
)

// Cut implements nemesis.Cutter. Sometimes the connections break at once, sometimes they hang.
func (w *world) Cut(_ context.Context, l nemesis.Link) error {
	w.network.change(fromTo(l), func(s *linkState) { s.cut = true })
	if w.network.chance(0.3) {
		w.network.sever(fromTo(l))
	}
	return nil
}

func fromTo(l nemesis.Link) link { return link{l.From, l.To} }

// Heal implements nemesis.Cutter.
func (w *world) Heal(_ context.Context, l nemesis.Link) error {
	w.network.change(fromTo(l), func(s *linkState) { s.cut = false })
	return nil
}

// Slow implements nemesis.Slower, but for the rate: messages have no length here.
func (w *world) Slow(_ context.Context, l nemesis.Link, weather nemesis.Weather) error {
	w.network.change(fromTo(l), func(s *linkState) { s.weather = weather })
	return nil
}

// Stall implements nemesis.Staller.
func (w *world) Stall(_ context.Context, l nemesis.Link) error {
	w.network.change(fromTo(l), func(s *linkState) { s.stalled = true })
	return nil
}

// Flow implements nemesis.Staller.
func (w *world) Flow(_ context.Context, l nemesis.Link) error {
	w.network.change(fromTo(l), func(s *linkState) { s.stalled = false })
	return nil
}

// Reset implements nemesis.Resetter.
func (w *world) Reset(_ context.Context, l nemesis.Link) error {
	w.network.sever(fromTo(l))
	return nil
}

// aimTime is how long a kill may wait for its moment.
const aimTime = time.Second

// Kill implements nemesis.Killer: as a power cut does. Some come right when a group was shown, which is then
// not on disk yet.
func (w *world) Kill(ctx context.Context, region string) error {
	if w.network.chance(0.3) {
		limited, cancel := context.WithTimeout(ctx, aimTime)
		select {
		case <-w.byName[region].watch.nextShown():
		case <-limited.Done():
		}
		cancel()
	}
	if w.byName[region].crash() {
		w.reach.count("crash")
	}
	return nil
}

// Restart implements nemesis.Killer. It does not wait: a region may need others that are down.
func (w *world) Restart(_ context.Context, region string) error {
	w.switchOn(region)
	return nil
}

// SetClock implements nemesis.ClockSetter.
func (w *world) SetClock(_ context.Context, region string, offset time.Duration) error {
	w.byName[region].clock.set(offset)
	return nil
}

// Add implements nemesis.Grower.
func (w *world) Add(_ context.Context, region string) error {
	w.switchOn(region)
	return nil
}

// Await implements nemesis.Grower. It does not wait: the end of the run does.
func (w *world) Await(context.Context, string) error { return nil }

// Leader implements nemesis.LeaderFinder.
func (w *world) Leader(context.Context) string { return w.certified.leading() }

// trouble plays all faults, and has undone them when it returns: when the last is over or ctx ends.
func (w *world) trouble(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() {
		if err := nemesis.Run(ctx, w.plan.Faults, w, w.note); err != nil {
			w.fail("nemesis", err.Error())
		}
	})
	for _, f := range w.plan.More {
		all.Go(func() {
			if sleep(ctx, f.At) {
				w.more(ctx, f)
			}
		})
	}
	all.Wait()
}

// more plays a fault that only a simulation can do.
func (w *world) more(ctx context.Context, f fault) {
	m := w.byName[f.Region]
	switch f.Kind {
	case diskLost, diskError:
		w.disk(ctx, f, m)
		return
	case killLeader:
		w.killLeader(ctx, f)
		return
	}
	defer w.fault(history.Fault{Kind: f.Kind, Targets: []string{f.Region}})()
	switch f.Kind {
	case slowDisk:
		m.slow(f.Delay)
		sleep(ctx, f.For)
		m.slow(0)
	case badCalls:
		m.calls.setBad(f.Amount)
		sleep(ctx, f.For)
		m.calls.setBad(w.plan.BadCalls)
	case drift:
		m.clock.setDrift(f.Amount)
		sleep(ctx, f.For)
		m.clock.synchronise()
	case restart:
		w.restart(ctx, m)
	}
}

// killLeader crashes the region whose voter leads, and brings it back after a while.
func (w *world) killLeader(ctx context.Context, f fault) {
	m := w.byName[w.Leader(ctx)]
	if m == nil {
		return // there is none yet
	}
	defer w.fault(history.Fault{Kind: string(nemesis.KillOne), Targets: []string{m.name}})()
	if m.crash() {
		w.reach.count("leader crashed")
	}
	sleep(ctx, f.For)
	m.on()
}

// restart ends a process in order, and starts another one.
func (w *world) restart(ctx context.Context, m *machine) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := m.stop(limited); err != nil {
		w.logf("%s did not stop in order: %v", m.name, err)
	}
	m.on()
}

// disk takes a disk away, or has it fail, and brings the region back after a while.
func (w *world) disk(ctx context.Context, f fault, m *machine) {
	kind := f.Kind
	switch {
	case m.life.Load() == nil:
		return // it is down anyway
	case kind == diskError:
		defer w.fault(history.Fault{Kind: kind, Targets: []string{f.Region}})()
		m.failDisk(syscall.EIO)
		sleep(ctx, f.For)
		m.crash()
	default:
		if !w.spares(m) {
			w.reach.count("last disk left alone")
			return
		}
		alone, done := m.loseDisk()
		w.lost(m)
		if !done {
			return
		}
		if alone == nil {
			kind, alone = diskCopied, []string{f.Region}
		} else if !slices.Contains(alone, f.Region) { // of its own it had sent on all but what was in memory
			defer w.fault(history.Fault{Kind: diskCopied, Targets: []string{f.Region}})()
		}
		defer w.fault(history.Fault{Kind: kind, Targets: alone})()
		sleep(ctx, f.For)
	}
	m.on()
}

// spares reports whether a disk may be lost: another region has data on its own, and will not lose it first.
func (w *world) spares(m *machine) bool {
	w.disks.Lock()
	defer w.disks.Unlock()
	for _, other := range w.machines {
		if other != m && !w.doomed[other] && other.watch.holdsData() {
			return w.sparesVotes(m)
		}
	}
	return false
}

// sparesVotes dooms a disk, unless the raft group would lose strong commits with it. The caller holds disks.
func (w *world) sparesVotes(m *machine) bool {
	m.watch.mu.Lock()
	region := m.watch.own.Region
	m.watch.mu.Unlock()
	if w.strong && !w.certified.spares(region) {
		return false
	}
	w.certified.lose(region)
	w.doomed[m] = true
	return true
}

// lost is called when a disk that spares let go is empty.
func (w *world) lost(m *machine) {
	w.disks.Lock()
	defer w.disks.Unlock()
	delete(w.doomed, m)
}

// slow makes the disk slower than it is by itself, or, with 0, no more.
func (m *machine) slow(by time.Duration) {
	<-m.power
	defer func() { m.power <- struct{}{} }()
	m.disk.setSlow(m.world.plan.Machines[m.name].Sync + by)
}

func (m *machine) failDisk(err syscall.Errno) {
	<-m.power
	defer func() { m.power <- struct{}{} }()
	m.disk.fail(err)
}
