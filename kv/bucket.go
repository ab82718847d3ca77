package kv

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/theriac-db/theriac/clock"
)

// BucketRules is what has been decided for a bucket. One that nobody has decided anything for has none:
// it takes any type and any level, and its defaults are causal and local.
type BucketRules struct {
	Name       Bucket
	Generation uint32     // raised when the bucket is dropped: its keys carry it, and which a call finds says its snapshot
	Created    clock.Wall // by the clock of the node that asked for it
	Types      []Type     // that objects may be written with, ascending; empty: any
	Levels     []Level    // that calls may have, ascending; empty: any
	// The defaults of calls that name none. Without a default level it is causal, or, where that is not among
	// Levels, the weakest of them that is stronger.
	Consistency
	Reach
}

// DecidedRules are a bucket's rules as a node knows them.
type DecidedRules struct {
	BucketRules
	// Since rises with every change of the metadata: of two that were decided for one bucket the later has
	// the higher one.
	Since uint64
	// Pending are the names of the serving regions that are not known to act by them yet: calls there may
	// still be judged by the rules before.
	Pending []string
}

// CheckBucket refuses what can't be a bucket's name.
func CheckBucket(b Bucket) error {
	if b == "" || len(b) > MaxBucket || !utf8.ValidString(string(b)) {
		return Errorf(KindInvalid, "bucket %.64q: want UTF-8 of 1 to %d bytes", string(b), MaxBucket)
	}
	return nil
}

// CheckDrop refuses what can't be dropped.
func CheckDrop(b Bucket) error {
	if err := CheckBucket(b); err != nil {
		return err
	}
	if b.Reserved() {
		return Errorf(KindInvalid, "bucket %q: names that begin with %q are the database's own; they can't be dropped", string(b), ReservedPrefix)
	}
	return nil
}

// Check refuses rules that make no sense, or that no call could keep.
func (r *BucketRules) Check() error {
	if err := CheckBucket(r.Name); err != nil {
		return err
	}
	if r.Name.Reserved() {
		return Errorf(KindInvalid, "bucket %q: names that begin with %q are the database's own; they take no rules", string(r.Name), ReservedPrefix)
	}
	if i := slices.IndexFunc(r.Types, func(t Type) bool { return t == 0 || int(t) >= len(typeNames) }); i >= 0 {
		return Errorf(KindInvalid, "bucket %q: no type has the number %d", string(r.Name), r.Types[i])
	}
	if i := slices.IndexFunc(r.Levels, func(l Level) bool { return l == LevelDefault || l > LevelStrong }); i >= 0 {
		return Errorf(KindLevelRefused, "bucket %q: %s is no level that calls have; want some of eventual, causal, bounded, quorum and strong",
			string(r.Name), r.Levels[i])
	}
	if !ascending(r.Types) || !ascending(r.Levels) {
		return Errorf(KindInvalid, "bucket %q: types and levels go in their order, each once", string(r.Name))
	}
	return r.checkDefaults()
}

func ascending[T ~uint8](list []T) bool {
	for i := 1; i < len(list); i++ {
		if list[i-1] >= list[i] {
			return false
		}
	}
	return true
}

func (r *BucketRules) checkDefaults() error {
	if err := r.Consistency.Check(); err != nil {
		return Errorf(KindOf(err), "default of bucket %q: %w", string(r.Name), err)
	}
	if err := r.Reach.Check(); err != nil {
		return Errorf(KindOf(err), "default of bucket %q: %w", string(r.Name), err)
	}
	c := r.Default()
	if c.Level == LevelBounded && c.Bound == 0 {
		return Errorf(KindInvalid, "bucket %q: give a default level, such as bounded:2s: calls that name none would be at level bounded, which needs a bound",
			string(r.Name))
	}
	if !r.allows(c.Level) {
		return Errorf(KindInvalid, "bucket %q: its default level %s is not among those that it allows: %s", string(r.Name), c.Level, words(r.Levels))
	}
	return nil
}

// Default is the level of calls on the bucket alone that name none.
func (r *BucketRules) Default() Consistency {
	switch {
	case r == nil:
		return Consistency{Level: LevelCausal}
	case r.Level != LevelDefault:
		return r.Consistency
	case r.allows(LevelCausal):
		return Consistency{Level: LevelCausal}
	}
	for _, l := range r.Levels {
		if l > LevelCausal {
			return Consistency{Level: l}
		}
	}
	return Consistency{Level: r.Levels[0]} // eventual alone
}

// DefaultReach is the durability of writes to the bucket alone that name none.
func (r *BucketRules) DefaultReach() Reach {
	if r == nil || r.Durability == DurabilityDefault {
		return Reach{Durability: DurabilityLocal}
	}
	return r.Reach
}

func (r *BucketRules) allows(l Level) bool {
	return r == nil || len(r.Levels) == 0 || slices.Contains(r.Levels, l)
}

// admit refuses a call at a level that the bucket forbids.
func (r *BucketRules) admit(l Level) error {
	if r.allows(l) {
		return nil
	}
	return Errorf(KindLevelRefused, "bucket %q refuses calls at level %s: it allows %s", string(r.Name), l, words(r.Levels))
}

// takes refuses a write of a type that the bucket does not have. Removing a whole object is allowed, so
// that what is left of another time can be cleared away, and so is reading it.
func (r *BucketRules) takes(op *Op) error {
	if r == nil || len(r.Types) == 0 || op.Verb == VerbReset && len(op.Path) == 0 || slices.Contains(r.Types, op.Type) {
		return nil
	}
	return Errorf(KindInvalid, "bucket %q takes no object of type %s: its types are %s", string(r.Name), op.Type, words(r.Types))
}

func words[T fmt.Stringer](list []T) string {
	s := make([]string, len(list))
	for i, v := range list {
		s[i] = v.String()
	}
	return strings.Join(s, ", ")
}

// Rules are the rules of all buckets, as a node knows them at one time. They never change, so that calls
// share them without locks; nil are none.
type Rules struct{ of map[Bucket]*BucketRules }

// NewRules makes them of checked rules, of which it keeps a copy.
func NewRules(list []BucketRules) *Rules {
	r := &Rules{of: make(map[Bucket]*BucketRules, len(list))}
	for _, b := range list {
		b.Types, b.Levels = slices.Clone(b.Types), slices.Clone(b.Levels)
		r.of[b.Name] = &b
	}
	return r
}

// Empty reports whether no bucket has any.
func (r *Rules) Empty() bool { return r == nil || len(r.of) == 0 }

// Of is the rules of a bucket; nil: it has none, or is unknown.
func (r *Rules) Of(b Bucket) *BucketRules {
	if r == nil {
		return nil
	}
	return r.of[b]
}

// Request settles the level and the durability of a one-shot transaction: what its options leave open is
// the strongest default of the buckets that it touches. It refuses what one of them forbids. regions is
// how many serve.
func (r *Rules) Request(req *Request, regions int) error {
	if r.Empty() {
		req.Options.settle(Consistency{Level: LevelCausal}, Reach{Durability: DurabilityLocal})
		return nil
	}
	t := touched{rules: r}
	for i := range req.Ops {
		if err := t.by(req.Ops[i].Bucket, regions).takes(&req.Ops[i]); err != nil {
			return err
		}
	}
	for i := range req.Queries {
		t.by(req.Queries[i].Bucket, regions)
	}
	if !t.any {
		t.by("", regions) // which has no rules
	}
	if err := unnamed(&req.Options, t.level); err != nil {
		return err
	}
	req.Options.settle(t.level, t.reach)
	return r.admit(req.Options.Level, req.Ops, req.Queries)
}

// unnamed refuses a try of an operation that would be strong only by default. Its other tries are told apart
// in another place than those of an operation at another level, so all must have one level, whatever the
// rules are by then.
func unnamed(o *Options, level Consistency) error {
	if o.Level != LevelDefault || level.Level != LevelStrong || o.Attempt.ID.IsZero() {
		return nil
	}
	e := Errorf(KindLevelRefused, "operation %s names no level, and the default of its buckets is strong: name that, so that retries have it too", o.Attempt.ID)
	e.Needs = level
	return e
}

// Listing settles the level of a listing or a digest of one bucket.
func (r *Rules) Listing(o *Options, b Bucket) error {
	rules := r.Of(b)
	o.settle(rules.Default(), rules.DefaultReach())
	return rules.admit(o.Level)
}

// Within refuses what an interactive transaction must not touch. begun is how it was begun: where nobody
// named its level it is served at causal, or at the default of other buckets, so a bucket whose default is
// stronger is refused, since its readers count on that.
func (r *Rules) Within(begun *Begin, ops []Op, queries []Query) error {
	if r.Empty() {
		return nil
	}
	for i := range ops {
		if err := r.of[ops[i].Bucket].takes(&ops[i]); err != nil {
			return err
		}
	}
	if begun.named() {
		return r.admit(begun.Options.Level, ops, queries)
	}
	for b := range buckets(ops, queries) {
		if err := r.ListingWithin(begun, b); err != nil {
			return err
		}
	}
	return nil
}

// ListingWithin is Within for a listing of one bucket.
func (r *Rules) ListingWithin(begun *Begin, b Bucket) error {
	rules := r.Of(b)
	if begun.named() {
		return rules.admit(begun.Options.Level)
	}
	at := begun.Options.Consistency()
	if at.Level == LevelDefault {
		at.Level = LevelCausal
	}
	if d := rules.Default(); d.Level > LevelCausal && at.Stricter(d) != at {
		e := Errorf(KindLevelRefused, "bucket %q in a transaction that began without a level, and so at %s: the bucket's default is %s; "+
			"begin the transaction at that level, or name %s if the bucket allows it", string(b), at, d, at)
		e.Needs = at.Stricter(d)
		return e
	}
	return rules.admit(at.Level)
}

// named tells whether a caller chose the level, for all buckets.
func (b *Begin) named() bool { return b.Options.Level != LevelDefault && !b.ByDefault }

// Commit settles the durability of an interactive transaction that wrote to these buckets.
func (r *Rules) Commit(o *Options, written iter.Seq[Bucket], regions int) {
	if o.Durability != DurabilityDefault {
		return
	}
	t := touched{rules: r, reach: Reach{Durability: DurabilityLocal}}
	if !r.Empty() {
		for b := range written {
			t.by(b, regions)
		}
	}
	o.SetReach(t.reach)
}

func (r *Rules) admit(l Level, ops []Op, queries []Query) error {
	for b := range buckets(ops, queries) {
		if err := r.of[b].admit(l); err != nil {
			return err
		}
	}
	return nil
}

// buckets are those of a call; mostly each once.
func buckets(ops []Op, queries []Query) iter.Seq[Bucket] {
	return func(yield func(Bucket) bool) {
		var last Bucket
		for i := range ops {
			if b := ops[i].Bucket; i == 0 || b != last {
				if last = b; !yield(b) {
					return
				}
			}
		}
		for i := range queries {
			if b := queries[i].Bucket; i == 0 && len(ops) == 0 || b != last {
				if last = b; !yield(b) {
					return
				}
			}
		}
	}
}

// settle fills in what the options leave open.
func (o *Options) settle(c Consistency, r Reach) {
	if o.Level == LevelDefault {
		o.SetConsistency(c)
	}
	if o.Durability == DurabilityDefault {
		o.SetReach(r)
	}
}

// touched gathers the strongest defaults of buckets.
type touched struct {
	rules *Rules
	any   bool
	name  Bucket // the last one
	last  *BucketRules
	level Consistency
	reach Reach
}

func (t *touched) by(b Bucket, regions int) *BucketRules {
	if t.any && b == t.name {
		return t.last
	}
	t.name, t.last = b, t.rules.of[b]
	c, r := t.last.Default(), t.last.DefaultReach()
	if t.any {
		c, r = c.Stricter(t.level), r.stricter(t.reach, regions)
	}
	t.any, t.level, t.reach = true, c, r
	return t.last
}

// stricter is whichever of two durabilities needs more regions of so many; of equal ones the later, which
// still does when there are more.
func (r Reach) stricter(s Reach, regions int) Reach {
	n, m := r.wants(regions), s.wants(regions)
	if n > m || n == m && r.Durability > s.Durability {
		return r
	}
	return s
}

// wants is Copies, but for what can't be reached.
func (r Reach) wants(regions int) int {
	if n, err := r.Copies(regions); err == nil {
		return n
	}
	return r.Regions
}
