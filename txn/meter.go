package txn

import (
	"context"
	"slices"
	"time"

	"github.com/theriac-db/theriac/kv"
)

// meter measures what a call pays, for a receipt in full. A nil one, which is that of calls that did not
// ask, measures nothing.
type meter struct {
	mono      func() time.Duration
	began     time.Duration
	paid      kv.Phases
	staleness []kv.RegionStaleness
	commit    times
}

// times are those of a commit on its way through a group. Who queues it, the store's writer and its syncer
// set one after the other before the caller is answered. 0: it did not come that far.
type times struct{ queued, taken, applied, durable time.Duration }

// meter begins to measure a call if its receipt is wanted in full.
func (c *Coordinator) meter(o *kv.Options) *meter {
	if !o.Receipt {
		return nil
	}
	return &meter{mono: c.mono, began: c.mono()}
}

// now is the time, for lap.
func (m *meter) now() time.Duration {
	if m == nil {
		return 0
	}
	return m.mono()
}

// lap adds the time since another reading to a phase.
func (m *meter) lap(since time.Duration, phase func(*kv.Phases) *time.Duration) {
	if m != nil {
		*phase(&m.paid) += m.mono() - since
	}
}

func tokenPhase(p *kv.Phases) *time.Duration   { return &p.Token }
func regionsPhase(p *kv.Phases) *time.Duration { return &p.Regions }
func certifyPhase(p *kv.Phases) *time.Duration { return &p.Certify }

// times is where a commit notes its way.
func (m *meter) times() *times {
	if m == nil {
		return nil
	}
	return &m.commit
}

// staleAt notes how old the snapshot is that is opened next: what is measured before holds for it, too.
func (c *Coordinator) staleAt(m *meter) {
	if m != nil && c.regions != nil {
		m.staleness = c.regions.Staleness()
	}
}

// holdsStrong notes that the snapshot holds every strong transaction that was acknowledged before began.
func (m *meter) holdsStrong(began time.Duration) {
	if m == nil {
		return
	}
	for i := range m.staleness {
		if s := &m.staleness[i]; s.Region == 0 {
			s.Age, s.Known = m.mono()-began, true
		}
	}
}

// aged is how old a snapshot is so long after it was opened.
func aged(list []kv.RegionStaleness, by time.Duration) []kv.RegionStaleness {
	out := slices.Clone(list)
	for i := range out {
		if out[i].Known {
			out[i].Age += by
		}
	}
	return out
}

// spreadMeasured is spread, which the call pays for.
func (c *Coordinator) spreadMeasured(ctx context.Context, o *kv.Options, m *meter, r *kv.Receipt) error {
	began := m.now()
	err := c.spread(ctx, o, r)
	m.lap(began, regionsPhase)
	return err
}

// complete fills in the part of a receipt that has to be asked for. Work is what none of the others was.
func (c *Coordinator) complete(m *meter, r *kv.Receipt) {
	if m == nil {
		return
	}
	if w := &m.commit; w.taken != 0 {
		m.paid.Queue += w.taken - w.queued
		if w.durable != 0 {
			m.paid.Sync += w.durable - w.applied
		}
	}
	m.paid.Work = 0
	m.paid.Work = m.mono() - m.began - m.paid.Total()
	r.Node, r.Staleness, r.Paid = c.node, m.staleness, m.paid
}
