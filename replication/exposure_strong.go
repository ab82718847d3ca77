package replication

import (
	"context"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
)

// Serving says which regions serve, of which a majority makes a group uniform; see causal.Machine.Serving.
func (x *Exposure) Serving(regions []clock.Region) {
	x.hear(func(m Core) { m.Serving(regions) })
}

// Uniform is what a majority of the serving regions has exposed and on its disk, as far as it is exposed
// here; entry 0 is E[0]. See causal.Machine.Uniform.
func (x *Exposure) Uniform() clock.Vector { return ask(x, Core.Uniform) }

// StrongCut is where strong snapshots are opened now; empty: nowhere. See causal.Machine.StrongCut.
func (x *Exposure) StrongCut() clock.Vector { return ask(x, Core.StrongCut) }

// Age lets time pass for what is held for strong snapshots; see causal.Machine.Age.
func (x *Exposure) Age() { x.hear(Core.Age) }

// Decided says that all is decided that earlier processes of this region had proposed; see
// causal.Machine.Decided.
func (x *Exposure) Decided(upTo clock.Timestamp) {
	x.hear(func(m Core) { m.Decided(upTo) })
}

// noMajority says that strong snapshots did not come to include something until a deadline.
func noMajority(w *waiter, reached clock.Timestamp, cause error) error {
	return kv.Errorf(kv.KindUnavailable, "until the deadline strong transactions could begin with region %d's writes up to %s only, not up to %s: "+
		"no majority of the regions is known here to have the rest on disk; wait until one is connected, try another region, or use level causal (%w)",
		w.goal.region, reached, w.time, cause)
}

// WaitUniform returns once strong snapshots include v. Errors are those of Wait, but kv.ErrUnavailable when the
// context's deadline passes.
func (x *Exposure) WaitUniform(ctx context.Context, v clock.Vector) error {
	return x.wait(ctx, v, causal.Uniform)
}

// OpenStrong waits until the strong cut includes the token and all that a strong snapshot must include, and
// opens one. One that writes is closed once its transaction is aborted, or its commit exposed here.
// Errors are those of WaitUniform, kv.ErrOverloaded when too many snapshots are open, and kv.ErrUnavailable
// while this node recovers.
func (x *Exposure) OpenStrong(ctx context.Context, token clock.Vector, writes bool) (Snapshot, error) {
	if err := x.WaitUniform(ctx, token); err != nil {
		return Snapshot{}, err
	}
	for {
		x.mu.Lock()
		open, missing, ok, err := x.machine.OpenStrong(writes)
		x.mu.Unlock()
		if ok || err != nil {
			return Snapshot{x: x, open: open}, err
		}
		if err := x.WaitUniform(ctx, clock.Vector{missing}); err != nil {
			return Snapshot{}, err
		}
	}
}
