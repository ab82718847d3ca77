package workload

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Defaults and bounds of a Config.
const (
	DefaultWorkers     = 9
	MaxWorkers         = 1000
	DefaultCallTimeout = 5 * time.Second
)

// Config says where and how hard to work.
type Config struct {
	// Regions are the names of the regions. Some may be unreachable at first, or all along.
	Regions []string
	// DB is how to reach a region. It is called for each transaction, from many goroutines.
	DB func(region string) *client.DB
	// Workers is how many transactions are under way at most. They are spread evenly over the regions.
	// Default: 9. Range: 1 to 1000.
	Workers int
	// Rate is how many transactions a second all workers begin together. A worker whose call takes long
	// leaves out what it should have begun meanwhile. Default 0: each begins when its last one has ended.
	// In simulated time, where a call may take none, name one: without it that time would stand still.
	Rate float64
	// Beat has transactions begin at multiples of it only, so that several meet in one moment, and in one
	// group of a region: where a call takes no time, as in a simulation, they hardly ever do by themselves.
	// Who thinks within a transaction goes on at one, too.
	// Default 0: each begins when its time has come.
	Beat time.Duration
	// Txns ends the load after that many transactions. Default 0: the context alone ends it.
	Txns int
	// Seed of all that is drawn. The same seed gives each worker the same plans, as far as answers are the
	// same. With an even one some writes have durability applied, which a crash may take back.
	Seed uint64
	// Now is the time since the run began; it never steps back. Default: that of package time since Start.
	Now func() time.Duration
	// CallTimeout is the deadline of each transaction. Default: 5s.
	CallTimeout time.Duration
	// Interrupt, once it is closed, cancels the calls that are under way when Load ends, or that begin then; what
	// they write is of unknown outcome. Default nil: each call ends by itself.
	Interrupt <-chan struct{}
	// Nemesis is what the header says of it. Default: nothing.
	Nemesis string
	// Observe is told of each transaction that has ended, from many goroutines; it must not change it. May be nil.
	Observe func(*history.Txn)
}

// complete checks a configuration and fills in defaults.
func (c *Config) complete() error {
	switch {
	case len(c.Regions) == 0:
		return errors.New("workload: no regions to work on")
	case c.DB == nil:
		return errors.New("workload: no way to reach the regions (DB)")
	case c.Workers < 0 || c.Workers > MaxWorkers:
		return fmt.Errorf("workload: %d workers: take 1 to %d", c.Workers, MaxWorkers)
	case !(c.Rate >= 0) || c.Txns < 0 || c.CallTimeout < 0 || c.Beat < 0:
		return fmt.Errorf("workload: rate %g, %d transactions, call timeout %s, beat %s: none of them may be negative", c.Rate, c.Txns, c.CallTimeout, c.Beat)
	}
	for i, name := range c.Regions {
		if name == "" || slices.Contains(c.Regions[:i], name) {
			return fmt.Errorf("workload: region %d of %q is empty or named twice", i+1, c.Regions)
		}
	}
	if c.Workers == 0 {
		c.Workers = DefaultWorkers
	}
	if c.CallTimeout == 0 {
		c.CallTimeout = DefaultCallTimeout
	}
	if c.Now == nil {
		start := time.Now()
		c.Now = func() time.Duration { return time.Since(start) }
	}
	return nil
}
