package sim

import (
	"sync"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/replication"
)

// machineClock is the clock of one simulated machine: a wall clock that may be wrong, step and drift,
// and a monotonic one and timers that drift with it. Time itself passes in the bubble. It outlives
// the processes on its machine.
type machineClock struct {
	start time.Time // of the run

	mu     sync.Mutex
	since  time.Time     // when the drift last changed
	mono   time.Duration // what the monotonic clock showed then
	offset time.Duration // of the wall clock, beside what drift adds
	step   time.Duration // of the wall clock, by a fault
	drift  float64       // seconds gained in a second
}

func newMachineClock(offset time.Duration, drift float64) *machineClock {
	now := time.Now()
	return &machineClock{start: now, since: now, offset: offset, drift: drift}
}

// monotonic is how much time has passed by this clock. The caller holds mu.
func (c *machineClock) monotonic() time.Duration {
	passed := time.Since(c.since)
	return c.mono + passed + time.Duration(float64(passed)*c.drift)
}

// Wall implements replication.Time.
func (c *machineClock) Wall() clock.Wall {
	c.mu.Lock()
	defer c.mu.Unlock()
	return clock.WallOf(c.start.Add(c.monotonic() + c.offset + c.step))
}

// Monotonic implements replication.Time.
func (c *machineClock) Monotonic() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.monotonic()
}

// NewTimer implements replication.Time. It is rounded up: who finds that a moment is still to come waits
// for it again, and time would stand still.
func (c *machineClock) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	rate := 1 + c.drift
	c.mu.Unlock()
	t := time.NewTimer(time.Duration(float64(d)/rate) + 2)
	return t.C, func() { t.Stop() }
}

// set puts the wall clock so far off what it would show; 0 undoes it.
func (c *machineClock) set(step time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step = step
}

// setDrift changes how fast the clock goes.
func (c *machineClock) setDrift(drift float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mono, c.since, c.drift = c.monotonic(), time.Now(), drift
}

// synchronise stops the drift and takes back what it has added to the wall clock, as time
// synchronisation would.
func (c *machineClock) synchronise() {
	c.setDrift(0)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset = time.Since(c.start) - c.monotonic()
}

var _ replication.Time = (*machineClock)(nil)
