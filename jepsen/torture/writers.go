package torture

import (
	"context"
	"fmt"
	"strings"

	"github.com/theriac-db/theriac/client"
)

// Sizes of the load.
const (
	bulk      = 600 // elements of a set that is removed at once: more than one batch removes
	lifetime  = 6   // cycles after which what transactions leave behind is removed
	manyOwn   = 4   // elements, fields and registers that a writer has of each kind
	hurries   = 25  // calls that the hasty writer makes in one cycle
	waveEvery = 3   // of so many removals one is of a large set
)

// text is a value that is written once.
func (w *writer) text() string { return fmt.Sprintf("%s/%d/%d", w.name, w.cycle, w.calls) }

func (w *writer) next() { w.calls++ }

func (w *writer) own() string { return fmt.Sprintf("%s-%d", w.name, w.random.IntN(manyOwn)) }

// single writes one place, which nobody else does: what became of it only its outcome tells.
func (w *writer) single(ctx context.Context) error {
	w.next()
	var f Effect
	switch w.random.IntN(5) {
	case 0, 1:
		f = Effect{Place: Place{"counter " + w.name, ""}, Deed: Add, N: 1 + w.random.Int64N(9)}
	case 2:
		f = Effect{Place: Place{"register " + w.own(), ""}, Deed: Put, Text: w.text()}
	case 3:
		f = Effect{Place: Place{"mv " + w.own(), ""}, Deed: Put, Text: w.text()}
	case 4:
		f = Effect{Place: Place{"register " + w.own(), ""}, Deed: Put, Text: w.text() + strings.Repeat(".", w.random.IntN(2*w.target.Padding))}
	}
	return w.send([]Effect{f}, false, func(opts []client.CallOption) error { return perform(ctx, w.session, f, opts...) })
}

// marked is a transaction over several places, some of which only it ever writes.
func (w *writer) marked() []Effect {
	w.next()
	n, id := 1+w.random.Int64N(9), w.text()
	effects := []Effect{
		{Place: Place{"counter left", ""}, Deed: Add, N: n},
		w.mark(id),
		{Place: Place{fmt.Sprintf("map notes-%s-%d", w.target.Region, w.cycle), id}, Deed: Put, Text: id, Mark: true},
		{Place: Place{"register last-" + w.name, ""}, Deed: Put, Text: id + strings.Repeat("+", w.random.IntN(w.target.Padding))},
		{Place: Place{"counter right", ""}, Deed: Add, N: n},
	}
	if w.role == "hasty" { // it does not wait for what became of the last one, so nothing of its own may be overwritten
		effects = append(effects[:3:3], effects[4])
	}
	return effects
}

// mark is the element that tells that a transaction was applied.
func (w *writer) mark(id string) Effect {
	return Effect{Place: Place{fmt.Sprintf("go done-%s-%d", w.target.Region, w.cycle), id}, Deed: Put, Text: present, Mark: true}
}

// update sends effects as a transaction that reads nothing: one round trip.
func (w *writer) update(ctx context.Context, effects []Effect, applied bool) error {
	return w.send(effects, applied, func(opts []client.CallOption) error {
		return w.session.Update(ctx, func(tx *client.Tx) error { return all(ctx, tx, effects) }, opts...)
	})
}

func (w *writer) transaction(ctx context.Context) error { return w.update(ctx, w.marked(), false) }

// hasty gives up on its calls after a moment, so that the outcome of many is unknown.
func (w *writer) hasty(ctx context.Context) error {
	w.gone = w.calls >= hurries
	return w.update(ctx, w.marked(), w.random.IntN(4) == 0)
}

// applied does not wait for the disk.
func (w *writer) applied(ctx context.Context) error {
	if w.lasting || w.random.IntN(3) > 0 {
		return w.update(ctx, w.marked(), true)
	}
	w.next()
	f := Effect{Place: Place{"counter " + w.name, ""}, Deed: Add, N: 1 + w.random.Int64N(9)}
	return w.send([]Effect{f}, true, func(opts []client.CallOption) error { return perform(ctx, w.session, f, opts...) })
}

// interactive reads before it writes, and sees what it wrote itself.
func (w *writer) interactive(ctx context.Context) error {
	effects := w.marked()
	return w.send(effects, false, func(opts []client.CallOption) error {
		return w.session.Update(ctx, func(tx *client.Tx) error {
			before, err := w.balanced(ctx, tx)
			if err != nil {
				return err
			}
			if err := all(ctx, tx, effects); err != nil {
				return err
			}
			after, err := w.balanced(ctx, tx)
			if err == nil && after != before+effects[0].N {
				w.complain("%s: a transaction that read %d and added %d reads %d", w.name, before, effects[0].N, after)
			}
			return err
		}, opts...)
	})
}

// balanced reads two counters that every transaction adds the same to.
func (w *writer) balanced(ctx context.Context, tx *client.Tx) (int64, error) {
	values, err := tx.Do(ctx, nil, []client.Query{{Object: tx.Counter("left").Object()}, {Object: tx.Counter("right").Object()}})
	if err != nil {
		return 0, err
	}
	if values[0].Int != values[1].Int {
		w.complain("%s: half a transaction is seen: %d left and %d right", w.name, values[0].Int, values[1].Int)
	}
	return values[0].Int, nil
}

// elements adds to and removes from collections that all share, each writer its own parts.
func (w *writer) elements(ctx context.Context) error {
	w.next()
	var effects []Effect
	for range 1 + w.random.IntN(3) {
		effects = append(effects, w.element(len(effects)))
	}
	effects = append(effects, w.mark(w.text()))
	return w.update(ctx, effects, false)
}

// element is a deed on a part of the writer's own. Those of one transaction are on different places.
func (w *writer) element(i int) Effect {
	part := fmt.Sprintf("%s-%d", w.name, i*manyOwn+w.random.IntN(manyOwn))
	f := Effect{Deed: Put, Text: present}
	if w.random.IntN(3) == 0 {
		f.Deed, f.Text = Take, ""
	}
	switch w.random.IntN(5) {
	case 0:
		f.Place = Place{"set live", part}
	case 1:
		f.Place = Place{"setrw live", part}
	case 2:
		f.Place = Place{"map live", part}
		if f.Deed == Put {
			f.Text = w.text()
		}
	case 3:
		f.Place = Place{"flag " + part, ""}
	case 4:
		f.Place = Place{"flagdw " + part, ""}
	}
	return f
}

// clean removes what transactions of earlier cycles have left, and fills and removes large sets.
func (w *writer) clean(ctx context.Context) error {
	w.next()
	old := w.cycle - lifetime
	effects := []Effect{w.mark(w.text())}
	switch {
	case w.calls == 1 && old >= 0:
		effects = append(effects,
			Effect{Place: Place{fmt.Sprintf("go done-%s-%d", w.target.Region, old), ""}, Deed: Clear},
			Effect{Place: Place{fmt.Sprintf("map notes-%s-%d", w.target.Region, old), ""}, Deed: Clear})
	case !w.bulky:
		w.gone = true // it has done its part
		return nil
	case w.calls%waveEvery == 2:
		return w.update(ctx, append(effects, w.bulk()...), false)
	case w.calls%waveEvery == 0:
		effects = append(effects, Effect{Place: Place{w.bulkName(), ""}, Deed: Clear})
		w.removing()
		w.tally.Add("removals of large sets", 1)
	}
	return w.update(ctx, effects, false)
}

func (w *writer) bulkName() string {
	return fmt.Sprintf("set bulk-%s-%d", w.name, w.calls/waveEvery%2)
}

func (w *writer) bulk() []Effect {
	// The name is that of the removal that follows.
	name := fmt.Sprintf("set bulk-%s-%d", w.name, (w.calls/waveEvery+1)%2)
	effects := make([]Effect, bulk)
	for i := range effects {
		effects[i] = Effect{Place: Place{name, fmt.Sprint(i)}, Deed: Put, Text: present}
	}
	return effects
}

// read watches from a session: what transactions write together is seen together, nothing goes back, and
// now and then everything is listed at one snapshot, as an export does.
func (w *writer) read(ctx context.Context) error {
	w.next()
	if w.calls%8 == 0 {
		w.tally.Add("listings of everything", 1)
		_, err := survey(ctx, w.session)
		return err
	}
	return w.session.View(ctx, func(tx *client.Tx) error {
		n, err := w.balanced(ctx, tx)
		if err == nil && n < w.left {
			w.complain("%s: a session that has read %d reads %d", w.name, w.left, n)
		}
		w.left = max(w.left, n)
		return err
	})
}
