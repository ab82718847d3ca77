package meta

import (
	"fmt"
	"maps"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/certify"
)

// Phase is where a region is in its life.
type Phase uint8

const (
	Joining   Phase = iota + 1 // it has a number and copies the data; it serves nobody
	Serving                    // it serves, and counts for majorities
	Fenced                     // it is being removed: nobody takes records from it
	Removed                    // it ended with its last entry; its heir has its rights
	Abandoned                  // it never served
)

var phaseNames = [...]string{"", "joining", "serving", "fenced", "removed", "abandoned"}

func (p Phase) String() string {
	if int(p) < len(phaseNames) && p > 0 {
		return phaseNames[p]
	}
	return fmt.Sprintf("phase(%d)", uint8(p))
}

// Region is what has been decided of a region.
type Region struct {
	Number clock.Region // never used again
	Name   string       // of no other region that joins, serves or is fenced
	Phase  Phase
	Store  uint64 // incarnation of its store
	// Acknowledged is the highest version by which it is known to act.
	Acknowledged uint64
	// Last is the timestamp of its last entry, once it is removed; anything later is void. It falls if a
	// region that alone held the end of it is removed too.
	Last   clock.Timestamp
	Closed clock.Timestamp // removed: the last strong commit before the close
	Heir   clock.Region    // removed: who has its rights. If that one is removed too, its heir
}

// Bucket is what has been decided of a bucket that has rules.
type Bucket struct {
	kv.BucketRules
	Since uint64 // version at which the rules became what they are
	// Pending are the serving regions that have not acknowledged this version: calls there may still be
	// served by the rules before.
	Pending []clock.Region
}

// Result is what became of a command.
type Result struct {
	Version uint64       // of the metadata, after it
	Region  clock.Region // Found, Add: the number given
	// Ends are the regions whose lives end here: none of their processes may have anything decided any
	// more. The shell hands them on to the certifier.
	Ends    []clock.Region
	Commits bool      // the command drops a bucket: Drops tells which
	Err     *kv.Error // why it was refused; then it changed nothing
}

// bucket is a bucket that has rules, or was dropped.
type bucket struct {
	rules   kv.BucketRules // its Generation is that of the keys
	since   uint64         // 0: dropped
	dropped uint64         // version of the last drop
}

// State is the metadata. It is not safe for concurrent use.
type State struct {
	version uint64
	regions []Region // number n at n-1
	// held is what serving regions reported of those that ended, since the version asked: that of the last
	// fence, or of the last store lost.
	held    map[clock.Region]clock.Vector
	asked   uint64
	buckets map[kv.Bucket]*bucket
	// generations are those above 0, by the encoded name as accesses have it.
	generations map[string]uint32
}

// New returns the metadata of a cluster that has not been founded.
func New() *State {
	return &State{held: map[clock.Region]clock.Vector{}, buckets: map[kv.Bucket]*bucket{}, generations: map[string]uint32{}}
}

// Version rises with every change that regions must know of. Acknowledgements and reports of what is
// held are none.
func (s *State) Version() uint64 { return s.version }

// Refound has the metadata go on in a new log, where what the one before decided last may be lost. Some region may
// act by that, up to version known: from here on versions are above it, so that each region takes what this
// state says in place of what it has, and is only then counted among those who act by it.
func (s *State) Refound(known uint64) {
	s.version = max(s.version, known) + 1
	for _, b := range s.buckets {
		if b.since != 0 {
			b.since = s.version
		}
		if b.dropped != 0 {
			b.dropped = s.version
		}
	}
}

// Apply decides a command at its place in the log; last is the time of the last strong commit before it.
// An error means that the command was not written by this version: nothing has changed, and the node must stop.
func (s *State) Apply(command []byte, last clock.Timestamp) (Result, error) {
	c, err := Decode(command)
	if err != nil {
		return Result{}, err
	}
	result, err := c.apply(s, last)
	if err != nil {
		result = Result{Err: err.(*kv.Error)} //nolint:errorlint // refusals are made here, of this type
	}
	result.Version = s.version
	return result, nil
}

// Regions are all regions there ever were, by number.
func (s *State) Regions() []Region { return slices.Clone(s.regions) }

// Region is one of them; false if there never was one of this number.
func (s *State) Region(n clock.Region) (Region, bool) {
	if n == 0 || int(n) > len(s.regions) {
		return Region{}, false
	}
	return s.regions[n-1], true
}

// Serving are the numbers of the regions that serve.
func (s *State) Serving() (serving []clock.Region) {
	for i := range s.regions {
		if s.regions[i].Phase == Serving {
			serving = append(serving, s.regions[i].Number)
		}
	}
	return serving
}

// Buckets are those that have rules, by name.
func (s *State) Buckets() (list []Bucket) {
	for _, name := range slices.Sorted(maps.Keys(s.buckets)) {
		if b := s.buckets[name]; b.since != 0 {
			list = append(list, Bucket{BucketRules: cloned(b.rules), Since: b.since, Pending: s.pending(b.since)})
		}
	}
	return list
}

// Dropped tells the generation of a bucket without rules, which regions have not yet acknowledged its
// last drop, and whether it was ever dropped.
func (s *State) Dropped(name kv.Bucket) (generation uint32, pending []clock.Region, found bool) {
	b := s.buckets[name]
	if b == nil || b.since != 0 {
		return 0, nil, false
	}
	return b.rules.Generation, s.pending(b.dropped), true
}

// Rules are what calls are judged by: those of every bucket that has any.
func (s *State) Rules() *kv.Rules {
	list := make([]kv.BucketRules, 0, len(s.buckets))
	for _, name := range slices.Sorted(maps.Keys(s.buckets)) {
		if b := s.buckets[name]; b.since != 0 {
			list = append(list, b.rules)
		}
	}
	return kv.NewRules(list)
}

// pending are the serving regions that have not acknowledged a version.
func (s *State) pending(version uint64) (pending []clock.Region) {
	for i := range s.regions {
		if r := &s.regions[i]; r.Phase == Serving && r.Acknowledged < version {
			pending = append(pending, r.Number)
		}
	}
	return pending
}

// Check implements certify.Metadata.
func (s *State) Check(command []byte) error {
	_, err := Decode(command)
	return err
}

// Decide implements certify.Metadata: the answer is one for DecodeAnswer.
func (s *State) Decide(command []byte, last clock.Timestamp) certify.Decided {
	result, err := s.Apply(command, last)
	if err != nil {
		panic("meta: a command that was not checked: " + err.Error())
	}
	return certify.Decided{Answer: result.AppendAnswer(nil), Ends: result.Ends, Commits: result.Commits}
}

// Drops implements certify.Metadata.
func (s *State) Drops(command []byte) kv.BucketDrop {
	c, err := Decode(command)
	d, is := c.(*Drop)
	if err != nil || !is {
		panic("meta: a command that commits and drops nothing")
	}
	return kv.BucketDrop{Bucket: d.Bucket, Generation: d.Generation + 1}
}

// Restore implements certify.Metadata: it is Restore, in place of what there is.
func (s *State) Restore(snapshot []byte) error {
	restored, err := Restore(snapshot)
	if err == nil {
		*s = *restored
	}
	return err
}

var _ certify.Metadata = (*State)(nil)

// generationBytes follow the bucket's name in an access.
const generationBytes = 4

// Exists implements certify.Metadata: it reports whether an access is one to its bucket's current
// generation. Its key begins with the bucket's name, as kv.AppendName writes it, and the generation in 4
// bytes, big endian. A later one exists too: a group that was founded anew may not know of a drop whose record
// was not lost.
func (s *State) Exists(a certify.Access) bool {
	key := a.Key
	rest, ok := kv.SkipName(key)
	if !ok || len(rest) < generationBytes {
		return true
	}
	generation := uint32(rest[0])<<24 | uint32(rest[1])<<16 | uint32(rest[2])<<8 | uint32(rest[3])
	return generation >= s.generations[string(key[:len(key)-len(rest)])]
}

func cloned(r kv.BucketRules) kv.BucketRules {
	r.Types, r.Levels = slices.Clone(r.Types), slices.Clone(r.Levels)
	return r
}
