package certify

// Limit lowers the bounds of a state.
func (s *State) Limit(entries, bytes, ids, underWay, proposers int) {
	s.limits = limits{entries, bytes, ids, underWay, proposers}
}

// LowID is the time below which an After says too little.
func (s *State) LowID() uint64 { return uint64(s.ids.low) }
