package history

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

func (h *Header) check() error {
	if h.Workload == "" {
		return errors.New("the header names no workload")
	}
	if len(h.Regions) == 0 {
		return errors.New("the header names no regions")
	}
	for i, r := range h.Regions {
		if r == "" || slices.Contains(h.Regions[:i], r) {
			return fmt.Errorf("the header's region %d is empty or named twice", i+1)
		}
	}
	return nil
}

func (h *History) checkFault(f *Fault) error {
	switch {
	case f.Kind == "":
		return errors.New("a fault without kind")
	case f.Start < 0 || f.End != -1 && f.End < f.Start:
		return fmt.Errorf("fault %s from %d to %d: times go forward from 0; an end of -1 says that it was not ended", f.Kind, f.Start, f.End)
	}
	for name, n := range f.Effects {
		if name == "" || n < 1 {
			return fmt.Errorf("fault %s with %d times effect %q: an effect has a name, and a count from 1", f.Kind, n, name)
		}
	}
	return nil
}

func (h *History) checkTxn(t *Txn) error {
	if t.ID < 1 {
		return fmt.Errorf("transaction %d: ids start at 1", t.ID)
	}
	if err := h.checkCall(t); err != nil {
		return fmt.Errorf("transaction %d: %w", t.ID, err)
	}
	for i := range t.Ops {
		if err := t.Ops[i].check(t.Outcome == OK); err != nil {
			return fmt.Errorf("transaction %d, operation %d: %w", t.ID, i+1, err)
		}
	}
	return nil
}

// bounded is the level that has a bound.
const bounded = "bounded"

func (h *History) checkCall(t *Txn) error {
	switch t.Outcome {
	case OK, Fail, Unknown:
	default:
		return fmt.Errorf("outcome %q: it is ok, fail or unknown", t.Outcome)
	}
	switch {
	case !slices.Contains(h.Header.Regions, t.Region):
		return fmt.Errorf("region %q is not one of the header's", t.Region)
	case t.Level == "":
		return errors.New("no level")
	case t.Bound < 0 || (t.Bound > 0) != (t.Level == bounded):
		return fmt.Errorf("a bound of %d at level %s: level %s has one above 0, and no other has any", t.Bound, t.Level, bounded)
	case t.Process < 1 || t.Session < 0:
		return fmt.Errorf("process %d, session %d: processes start at 1, sessions too; session 0 says none", t.Process, t.Session)
	case t.Start < 0 || t.End < -1:
		return fmt.Errorf("from %d to %d: times start at 0; an end of -1 says that it was never answered", t.Start, t.End)
	case t.Ended() && t.End < t.Start:
		return fmt.Errorf("it ends at %d, before its start at %d", t.End, t.Start)
	case !t.Ended() && t.Outcome != Unknown:
		return fmt.Errorf("outcome %s without an end", t.Outcome)
	case len(t.Ops) == 0:
		return errors.New("no operations")
	}
	return h.checkReport(t)
}

// checkReport looks at what the database is said to have reported.
func (h *History) checkReport(t *Txn) error {
	if t.Disks < 0 {
		return fmt.Errorf("on disk in %d regions", t.Disks)
	}
	for _, v := range []Vector{t.Snapshot, t.TokenBefore, t.TokenAfter} {
		for region := range v {
			if region < StrongOrder || region > MaxRegion {
				return fmt.Errorf("a vector names region %d: they are 1 to %d, and 0 for strong transactions", region, MaxRegion)
			}
		}
	}
	if c := t.Commit; c != nil {
		switch {
		case c.Region < StrongOrder || c.Region > MaxRegion || c.Time == 0:
			return fmt.Errorf("commit stamp (%d, %d): regions are 1 to %d, and 0 for strong transactions, times start at 1", c.Region, c.Time, MaxRegion)
		case t.Outcome == Fail:
			return errors.New("a commit stamp, though it failed")
		case !t.Writes():
			return errors.New("a commit stamp, though it writes nothing")
		}
	}
	return nil
}

// verbs says on which types an operation exists. Nil: on all.
var verbs = map[Do][]string{
	Get: nil, Reset: nil,
	Contains: {"set-aw", "set-rw", "set-go"},
	Add:      {"counter"},
	Assign:   {"register-lww", "register-mv"},
	Insert:   {"set-aw", "set-rw", "set-go"},
	Remove:   {"set-aw", "set-rw"},
	Enable:   {"flag-ew", "flag-dw"},
	Disable:  {"flag-ew", "flag-dw"},
}

// types of values.
var types = []string{
	"counter", "register-lww", "register-mv", "flag-ew", "flag-dw", "set-aw", "set-rw", "set-go", "map", "map-go",
}

// check makes sure that an operation can be understood. answered: its transaction is ok.
func (o *Op) check(answered bool) error {
	on, known := verbs[o.Do]
	if !known {
		return fmt.Errorf("unknown operation %q", o.Do)
	}
	if err := o.checkPlace(); err != nil {
		return err
	}
	if on != nil && !slices.Contains(on, o.Leaf()) {
		return fmt.Errorf("there is no %s on a %s", o.Do, o.Leaf())
	}
	switch takes := o.Do == Add || o.Do == Assign; {
	case takes && o.Arg == nil:
		return fmt.Errorf("%s without arg", o.Do)
	case !takes && o.Arg != nil:
		return fmt.Errorf("%s with an arg", o.Do)
	case o.Expect != nil && o.Do != Assign:
		return fmt.Errorf("%s with expect", o.Do)
	case o.Writes() && o.Got != nil:
		return fmt.Errorf("%s with an answer", o.Do)
	case answered && !o.Writes() && o.Got == nil:
		return fmt.Errorf("%s without an answer, though the transaction is ok", o.Do)
	case o.Element != "" && o.Do != Contains && o.Do != Insert && o.Do != Remove:
		return fmt.Errorf("%s with an element", o.Do)
	}
	return o.checkValues()
}

// checkValues makes sure that no value says something that is none of its type, which checkers would not see.
func (o *Op) checkValues() error {
	kind := o.Leaf()
	for _, c := range []struct {
		name, kind string
		v          *Value
	}{{"arg", assigned(kind), o.Arg}, {"expect", kind, o.Expect}, {"got", asked(o.Do, kind), o.Got}} {
		if c.v == nil {
			continue
		}
		if err := c.v.check(c.kind); err != nil {
			return fmt.Errorf("%s of %s: %w", c.name, o.Do, err)
		}
	}
	if o.Arg != nil && o.Arg.Absent {
		return fmt.Errorf("%s of nothing", o.Do)
	}
	return nil
}

// assigned is the type that what is given to a leaf is like: a text is assigned to a register of either kind.
func assigned(kind string) string {
	if kind == "register-mv" {
		return "register-lww"
	}
	return kind
}

// asked is the type that an answer is like.
func asked(do Do, kind string) string {
	if do == Contains {
		return "flag-ew"
	}
	return kind
}

// form is the field in which the values of a type are.
func form(kind string) string {
	switch kind {
	case "counter":
		return "int"
	case "flag-ew", "flag-dw":
		return "flag"
	case "register-lww":
		return "text"
	case "map", "map-go":
		return "fields"
	}
	return "list"
}

// check makes sure that a value is of the form of a type. That of a type that nobody knows may be any: that a
// database answered so is for checkers to say.
func (v *Value) check(kind string) error {
	if !slices.Contains(types, kind) {
		return nil
	}
	own := form(kind)
	for _, part := range [...]struct {
		name string
		has  bool
	}{{"int", v.Int != 0}, {"flag", v.Flag}, {"text", v.Text != ""}, {"list", len(v.List) > 0}, {"fields", len(v.Fields) > 0}} {
		if part.has && (part.name != own || v.Absent) {
			return fmt.Errorf("a value with %s, where a %s has %s, and nothing if it is absent", part.name, kind, own)
		}
	}
	for i := range v.Fields {
		f := &v.Fields[i]
		if err := f.Value.check(f.Type); err != nil {
			return fmt.Errorf("field %q: %w", f.Name, err)
		}
	}
	return nil
}

func (o *Op) checkPlace() error {
	at := o.Type
	if !slices.Contains(types, at) {
		return fmt.Errorf("unknown type %q", at)
	}
	for _, s := range o.Path {
		if at != "map" && at != "map-go" {
			return fmt.Errorf("a path goes through maps only, not through a %s", at)
		}
		if at = s.Type; !slices.Contains(types, at) {
			return fmt.Errorf("unknown type %q", at)
		}
	}
	return nil
}

// apart makes sure that the transactions of each process or session follow one another. last: one of
// unknown outcome has none after it.
func (h *History) apart(what string, of func(*Txn) int, last bool) error {
	order := make([]*Txn, 0, len(h.Txns))
	for i := range h.Txns {
		if of(&h.Txns[i]) != 0 {
			order = append(order, &h.Txns[i])
		}
	}
	slices.SortStableFunc(order, func(a, b *Txn) int { return cmp.Compare(a.Start, b.Start) })
	before := map[int]*Txn{}
	for _, t := range order {
		k := of(t)
		switch b := before[k]; {
		case b == nil:
		case b.Ended() && b.End > t.Start:
			return fmt.Errorf("history: transactions %d and %d of %s %d are under way at the same time", b.ID, t.ID, what, k)
		case last && b.Outcome == Unknown:
			return fmt.Errorf("history: %s %d goes on with transaction %d after the unknown outcome of %d: its caller needs a new number",
				what, k, t.ID, b.ID)
		}
		before[k] = t
	}
	return nil
}

// Check makes sure that a history which was not read from a file is one that Read would return. It puts
// transactions into the order of their ids, and faults into that of their starts.
func (h *History) Check() error {
	if h.Header.Version != Version {
		return fmt.Errorf("history: format %d: this program writes format %d", h.Header.Version, Version)
	}
	if err := h.Header.check(); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	for i := range h.Txns {
		if err := h.checkTxn(&h.Txns[i]); err != nil {
			return fmt.Errorf("history: %w", err)
		}
	}
	for i := range h.Faults {
		if err := h.checkFault(&h.Faults[i]); err != nil {
			return fmt.Errorf("history: %w", err)
		}
	}
	return h.complete(nil)
}
