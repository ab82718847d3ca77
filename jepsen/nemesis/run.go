package nemesis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// UndoTimeout bounds how long a fault takes to be undone, a restart or a join included. Range: it is fixed.
const UndoTimeout = 2 * time.Minute

// Run plays a schedule on a target, and returns when it is over or ctx has ended, with all undone. note is
// told when a fault begins; what it returns is called when the fault has been undone, with what it did, as far as
// the target is a Witness. It may be nil, is called from several goroutines, and must not block.
//
// A step that fails ends the run; one that fails because ctx has ended does not make an error.
func Run(ctx context.Context, schedule []Fault, target any, note func(Fault) (ended func(Effects))) error {
	if err := Possible(KindsOf(schedule), target); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	p := &player{target: target, note: note, start: time.Now()}
	var wait sync.WaitGroup
	errs := make([]error, len(tracks))
	for i, t := range tracks {
		of := slices.DeleteFunc(slices.Clone(schedule), func(f Fault) bool { i, _ := info(f.Kind); return i.track != t })
		wait.Go(func() {
			if errs[i] = p.play(ctx, of); errs[i] != nil {
				stop(errs[i])
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// player is one Run.
type player struct {
	target any
	note   func(Fault) func(Effects)
	start  time.Time
}

// play plays one track.
func (p *player) play(ctx context.Context, faults []Fault) error {
	for i, f := range faults {
		if !sleep(ctx, time.Until(p.start.Add(f.At))) {
			return nil
		}
		longest := f.For + MaxLinger
		if i+1 < len(faults) {
			longest = min(longest, faults[i+1].At-f.At)
		}
		if err := p.fault(ctx, f, p.start.Add(f.At+longest)); err != nil {
			return fmt.Errorf("nemesis %s on %s: %w", f.Kind, f.Text, err)
		}
	}
	return nil
}

// fault plays one fault and undoes it. It lasts until a time at most if it has no effect.
func (p *player) fault(ctx context.Context, f Fault, until time.Time) error {
	f, aimed := p.aim(ctx, f)
	before, err := p.effects(ctx, f)
	if err != nil {
		return err
	}
	ended := func(Effects) {}
	if p.note != nil {
		ended = p.note(f)
	}
	err = p.disturb(ctx, f)
	if err == nil {
		err = p.linger(ctx, f, before, until)
	}
	if ctx.Err() != nil {
		err = nil // it was interrupted, and is undone
	}
	err = errors.Join(err, p.undo(ctx, f))
	after, failed := p.effects(ctx, f)
	did := after.since(before).of(f.Kind)
	maps.Copy(did, aimed)
	ended(did)
	return errors.Join(err, failed)
}

// aimTimeout bounds how long the leader is looked for.
const aimTimeout = 2 * time.Second

// aim points a fault for the leader at the region that leads now, and says whether one was known.
func (p *player) aim(ctx context.Context, f Fault) (Fault, Effects) {
	if f.Kind != IsolateLeader {
		return f, nil
	}
	leader := ""
	if finder, able := p.target.(LeaderFinder); able {
		ctx, cancel := context.WithTimeout(ctx, aimTimeout)
		defer cancel()
		leader = finder.Leader(ctx)
	}
	var regions []string
	for _, l := range f.Links {
		if !slices.Contains(regions, l.From) {
			regions = append(regions, l.From)
		}
	}
	if !slices.Contains(regions, leader) {
		f.Text = "no leader known: " + alone(f.Targets[0], regions).Text
		return f, Effects{LeadersUnknown: 1}
	}
	s := alone(leader, regions)
	f.Links, f.Targets, f.Text = s.Links, s.Targets, "leader "+s.Text
	return f, Effects{LeadersCut: 1}
}

// disturb does the steps of a fault.
func (p *player) disturb(ctx context.Context, f Fault) error {
	start := time.Now()
	for _, s := range f.steps() {
		if !sleep(ctx, time.Until(start.Add(s.after))) {
			return nil
		}
		if err := p.do(ctx, f, s); err != nil {
			return err
		}
	}
	sleep(ctx, time.Until(start.Add(f.For)))
	return nil
}

// undo ends a fault although ctx may have ended.
func (p *player) undo(ctx context.Context, f Fault) error {
	s, ok := f.undo()
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), UndoTimeout)
	defer cancel()
	if err := p.do(ctx, f, s); err != nil {
		return fmt.Errorf("it could not be undone: %w", err)
	}
	return nil
}

// do does a step to all that a fault hits: to links one after the other, which takes no time, to regions
// at once, since one that starts may wait for another.
func (p *player) do(ctx context.Context, f Fault, s step) error {
	errs := make([]error, len(f.Links)+len(f.Regions))
	for i, l := range f.Links {
		if err := s.onLink(ctx, p.target, l); err != nil {
			errs[i] = fmt.Errorf("%s %s: %w", s.verb, l, err)
		}
	}
	var wait sync.WaitGroup
	for i, r := range f.Regions {
		wait.Go(func() {
			if err := s.onRegion(ctx, p.target, r); err != nil {
				errs[len(f.Links)+i] = fmt.Errorf("%s %s: %w", s.verb, r, err)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// sleep waits; false says that ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
