package storage

import "github.com/theriac-db/theriac/clock"

// cuts are what rewrites go by: every snapshot that is or may be opened includes the horizon, and
// every effect above the horizon has seen settled.
type cuts struct{ horizon, settled clock.Vector }

// SetCuts tells the store the horizon and what is settled; settled is within the horizon, and both
// only grow. The store lowers them below its pending removals by itself.
func (s *Store) SetCuts(horizon, settled clock.Vector) {
	s.cuts.Store(&cuts{horizon: horizon, settled: settled.Meet(horizon)})
}
