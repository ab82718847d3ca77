package whole

import (
	"strings"

	"github.com/theriac-db/theriac/jepsen/history"
)

// finals are the reads after healing: of each place, and of each element that was asked for alone.
type finals struct {
	x      *index
	region map[string]int
	since  int64 // when the first of them began; what was acknowledged later is not held against them
	any    bool
	whole  map[*place][]bool // by region: whether all of the place was read there
	part   map[*item][]bool  // by region: whether the element was asked for there
	count  int
}

// look is one final read of a place.
type look struct {
	txn  *history.Txn
	at   *place
	got  *history.Value
	item *item // set when only this element was asked for
}

func newFinals(x *index) *finals {
	f := &finals{x: x, region: map[string]int{}, whole: map[*place][]bool{}, part: map[*item][]bool{}}
	for i, name := range x.h.Header.Regions {
		f.region[name] = i
	}
	for i := range x.h.Txns {
		if t := &x.h.Txns[i]; isFinal(t) && (!f.any || t.Start < f.since) {
			f.any, f.since = true, t.Start
		}
	}
	return f
}

// each calls visit with every final read. A read of a map is one of each place within it.
func (f *finals) each(visit func(l look)) {
	for i := range f.x.h.Txns {
		t := &f.x.h.Txns[i]
		if !isFinal(t) {
			continue
		}
		for j := range t.Ops {
			f.op(t, &t.Ops[j], f.x.at[i][j], visit)
		}
	}
}

func (f *finals) op(t *history.Txn, o *history.Op, p *place, visit func(l look)) {
	region := f.region[t.Region]
	if o.Do == history.Contains {
		i := p.item(o.Element)
		f.part[i] = f.note(f.part[i], region)
		visit(look{t, p, o.Got, i})
		return
	}
	f.whole[p] = f.note(f.whole[p], region)
	visit(look{t, p, o.Got, nil})
	if !isMap(p.leaf) {
		return
	}
	leaves := map[string]*history.Value{}
	flatten(p.path, o.Got, leaves)
	for _, q := range p.below {
		v := leaves[q.path]
		if v == nil {
			v = &history.Value{Absent: true}
		}
		f.whole[q] = f.note(f.whole[q], region)
		visit(look{t, q, v, nil})
	}
}

func (f *finals) note(regions []bool, region int) []bool {
	if regions == nil {
		regions = make([]bool, len(f.x.h.Header.Regions))
	}
	regions[region] = true
	f.count++
	return regions
}

// flatten finds each field's value by its path.
func flatten(path string, v *history.Value, to map[string]*history.Value) {
	for i := range v.Fields {
		var b strings.Builder
		b.WriteString(path)
		step(&b, v.Fields[i].Name, v.Fields[i].Type)
		to[b.String()] = &v.Fields[i].Value
		flatten(b.String(), &v.Fields[i].Value, to)
	}
}

// unread is the number of regions in which a place that was written was not read in the end, neither
// whole nor by asking for each of its elements.
func (f *finals) unread(p *place) int {
	n := 0
	for r := range f.x.h.Header.Regions {
		if all := f.whole[p]; all != nil && all[r] {
			continue
		}
		asked := isSet(p.leaf)
		for _, i := range p.order {
			part := f.part[i]
			asked = asked && (part != nil && part[r] || len(i.marks)+len(i.unmarks) == 0)
		}
		if !asked {
			n++
		}
	}
	return n
}
