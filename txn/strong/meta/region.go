package meta

import (
	"fmt"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

func (c *Found) apply(s *State, _ clock.Timestamp) (Result, error) {
	if len(s.regions) > 0 {
		if r := &s.regions[0]; r.Name == c.Name && r.Store == c.Store {
			return Result{Region: r.Number}, nil // asked again
		}
		return Result{}, kv.Errorf(kv.KindInvalid, "region %q founds nothing: the cluster was founded by %q", c.Name, s.regions[0].Name)
	}
	s.version++
	s.regions = append(s.regions, Region{Number: 1, Name: c.Name, Phase: Serving, Store: c.Store, Acknowledged: s.version})
	return Result{Region: 1}, nil
}

func (c *Add) apply(s *State, _ clock.Timestamp) (Result, error) {
	if err := s.mayAdd(c.Name); err != nil {
		return Result{}, err
	}
	for i := range s.regions {
		if r := &s.regions[i]; r.Phase == Joining { // this one, or mayAdd had refused
			if r.Store != c.Store {
				s.version++
				r.Store = c.Store
			}
			return Result{Region: r.Number}, nil
		}
	}
	s.version++
	number := clock.Region(len(s.regions) + 1)
	s.regions = append(s.regions, Region{Number: number, Name: c.Name, Phase: Joining, Store: c.Store})
	return Result{Region: number}, nil
}

// mayAdd refuses a region that must not join, or not now: regions change one at a time.
func (s *State) mayAdd(name string) error {
	members := 0
	for i := range s.regions {
		r := &s.regions[i]
		switch {
		case !r.member():
			continue
		case r.Phase == Fenced:
			return kv.Errorf(kv.KindUnavailable, "region %q can't join while region %q is being removed", name, r.Name)
		case r.Phase == Joining && r.Name != name:
			return kv.Errorf(kv.KindUnavailable, "region %q can't join while region %q does: wait until that one serves, or abandon it", name, r.Name)
		case r.Phase == Serving && r.Name == name:
			return kv.Errorf(kv.KindInvalid, "there is a region %q, number %d: take another name, or remove that one first", name, r.Number)
		case r.Phase == Joining:
			return nil
		}
		members++
	}
	switch {
	case len(s.regions) == 0:
		return kv.Errorf(kv.KindUnavailable, "region %q can't join: the cluster has not been founded", name)
	case len(s.regions) >= MaxRegions:
		return kv.Errorf(kv.KindTooLarge, "region %q can't join: all %d numbers have been given, to regions removed and abandoned too", name, MaxRegions)
	case members >= MaxMembers:
		return kv.Errorf(kv.KindTooLarge, "region %q can't join: there are %d regions", name, MaxMembers)
	}
	return nil
}

// member reports whether a region's name is taken.
func (r *Region) member() bool { return r.Phase != Removed && r.Phase != Abandoned }

// in finds a region, and refuses it if it is in none of the phases in which it can do what.
func (s *State) in(n clock.Region, what string, phases ...Phase) (*Region, error) {
	if n == 0 || int(n) > len(s.regions) {
		return nil, kv.Errorf(kv.KindNotFound, "there is no region %d", n)
	}
	r := &s.regions[n-1]
	for _, p := range phases {
		if r.Phase == p {
			return r, nil
		}
	}
	return nil, kv.Errorf(kv.KindInvalid, "region %q, number %d, is %s: it can't %s", r.Name, n, r.Phase, what)
}

func (c *Serve) apply(s *State, _ clock.Timestamp) (Result, error) {
	r, err := s.in(c.Region, "begin to serve", Joining, Serving)
	if err != nil {
		return Result{}, err
	}
	if r.Store != c.Store {
		return Result{}, kv.Errorf(kv.KindAborted, "region %q has another store than %x by now", r.Name, c.Store)
	}
	if r.Phase == Joining {
		s.version++
		r.Phase = Serving // by what it has acknowledged so far: it may have copied its data from who knows no more
	}
	return Result{}, nil
}

func (c *Abandon) apply(s *State, _ clock.Timestamp) (Result, error) {
	r, err := s.in(c.Region, "be abandoned", Joining, Abandoned)
	if err != nil || r.Phase == Abandoned {
		return Result{}, err
	}
	s.version++
	r.Phase = Abandoned
	return Result{Ends: []clock.Region{r.Number}}, nil
}

func (c *Replace) apply(s *State, _ clock.Timestamp) (Result, error) {
	r, err := s.in(c.Region, "go on with another store", Serving)
	switch {
	case err != nil:
		return Result{}, err
	case r.Store == c.Store:
		return Result{}, nil // asked again
	case r.Store != c.Was:
		return Result{}, kv.Errorf(kv.KindAborted, "region %q has another store than %x by now", r.Name, c.Was)
	}
	s.version++
	r.Store, r.Acknowledged = c.Store, 0 // what it knew is lost with its store
	s.ask()
	return Result{}, nil
}

// ask forgets what was reported: from this version on everybody has to look again.
func (s *State) ask() {
	clear(s.held)
	s.asked = s.version
}

func (c *Fence) apply(s *State, _ clock.Timestamp) (Result, error) {
	r, err := s.in(c.Region, "be removed", Serving, Fenced, Removed)
	if err != nil || r.Phase != Serving {
		return Result{}, err
	}
	if len(s.Serving()) == 1 {
		return Result{}, kv.Errorf(kv.KindInvalid, "region %q is the last one that serves: it can't be removed", r.Name)
	}
	for i := range s.regions {
		if s.regions[i].Phase == Joining {
			return Result{}, kv.Errorf(kv.KindUnavailable, "region %q can't be removed while region %q joins: wait until that one serves, or abandon it",
				r.Name, s.regions[i].Name)
		}
	}
	s.version++
	r.Phase = Fenced
	s.ask()
	return Result{Ends: []clock.Region{r.Number}}, nil
}

func (c *Held) apply(s *State, _ clock.Timestamp) (Result, error) {
	r, err := s.in(c.Reporter, "say what it holds", Serving)
	switch {
	case err != nil:
		return Result{}, err
	case c.Version > s.version:
		return Result{}, kv.Errorf(kv.KindInvalid, "region %q reports as of version %d of the metadata, which is at %d", r.Name, c.Version, s.version)
	case c.Version < s.asked:
		return Result{}, kv.Errorf(kv.KindAborted, "region %q reports as of version %d of the metadata: look again, at version %d at least",
			r.Name, c.Version, s.asked)
	}
	s.held[r.Number] = s.held[r.Number].Join(c.Holds) // what is held only grows, whatever order reports come in
	s.lower()
	return Result{}, nil
}

func (c *Close) apply(s *State, last clock.Timestamp) (Result, error) {
	r, err := s.in(c.Region, "be closed", Fenced, Removed)
	if err != nil || r.Phase == Removed {
		return Result{}, err
	}
	if missing := s.Missing(); len(missing) > 0 {
		return Result{}, kv.Errorf(kv.KindUnavailable, "region %q can't be closed yet: %s must first say what is held of it; "+
			"one that never will must be removed too", r.Name, s.names(missing))
	}
	s.version++
	r.Phase, r.Closed, r.Heir = Removed, last, s.Serving()[0]
	r.Last = s.highest(r.Number)
	return Result{}, nil
}

// Missing are the serving regions that have yet to say what they hold of those that ended: none if no
// region ever ended.
func (s *State) Missing() (missing []clock.Region) {
	if len(s.Ended()) == 0 {
		return nil
	}
	for _, n := range s.Serving() {
		if _, reported := s.held[n]; !reported {
			missing = append(missing, n)
		}
	}
	return missing
}

// Asked is the version since which serving regions are to say what they hold.
func (s *State) Asked() uint64 { return s.asked }

// highest is the most that any serving region says it holds of one that ended.
func (s *State) highest(of clock.Region) (t clock.Timestamp) {
	for _, holds := range s.held {
		t = max(t, holds.At(of))
	}
	return t
}

// lower takes the last entries of removed regions back to what is still held, once everybody has looked:
// the rest was held where it can't be got any more, and waiting for it would never end.
func (s *State) lower() {
	if len(s.Missing()) > 0 {
		return
	}
	lowered := false
	for i := range s.regions {
		r := &s.regions[i]
		if t := s.highest(r.Number); r.Phase == Removed && t < r.Last {
			r.Last, lowered = t, true
		}
	}
	if lowered {
		s.version++
	}
}

// Ended are the regions of which Held must tell: those that are fenced or removed.
func (s *State) Ended() (ended []clock.Region) {
	for i := range s.regions {
		if p := s.regions[i].Phase; p == Fenced || p == Removed {
			ended = append(ended, s.regions[i].Number)
		}
	}
	return ended
}

func (s *State) names(regions []clock.Region) string {
	text := ""
	for i, n := range regions {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%q", s.regions[n-1].Name)
	}
	return text
}

func (c *Acknowledge) apply(s *State, _ clock.Timestamp) (Result, error) {
	r, err := s.in(c.Region, "acknowledge anything", Joining, Serving)
	if err != nil {
		return Result{}, err
	}
	if c.Version > s.version {
		return Result{}, kv.Errorf(kv.KindInvalid, "region %q acknowledges version %d of the metadata, which is at %d", r.Name, c.Version, s.version)
	}
	r.Acknowledged = max(r.Acknowledged, c.Version)
	return Result{}, nil
}
