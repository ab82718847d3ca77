package semantics

import (
	"cmp"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// rootKey identifies an object.
type rootKey struct{ bucket, key, kind string }

// node is an object, or a field at a path of maps.
type node struct {
	at       history.Op // where: bucket, key, type and path, for texts
	kind     string
	parent   *node
	children map[history.Step]*node // of a map
	elements map[string]*leaf       // of a set
	leaf     *leaf                  // of any other type
	fields   []*node                // children in the order of (name, type)
	members  []*leaf                // elements in byte order
	resets   covers
	unsure   []*effect // resets of pending transactions
	attempts attempts  // of resets
}

// leaf is what conflicts: a simple value, or one element of a set.
type leaf struct {
	on      *node
	element string
	kind    string // of simple type: an element of set-aw is a flag-ew, of set-rw a flag-dw, of set-go a flag-ew
	items   [2]items
	covers  [2]covers
	unsure  []*effect // of pending transactions
	reads   []read    // those that pending transactions might explain
	tries   attempts
	winners map[commit]winner // of register-lww: what was seen to win in a group of several
	mark    int               // of the overlay that slot belongs to
	slot    int
}

// Classes of what lives in a leaf until it is covered.
const (
	positive = 0 // adds, assigned values, enables
	disables = 1 // of flag-dw only
)

// effect is what a transaction did to a leaf, or to a node as a whole, in sum: what it overrides of
// what its snapshot holds, and what it leaves.
type effect struct {
	leaf    *leaf
	node    *node // of a reset
	pending *pending
	covers  [2]bool // classes that it overrides
	live    bool
	class   int
	n       int64
	text    string
}

// item is what a certain commit left in a leaf.
type item struct {
	time uint64
	who  int
	n    int64
	text string
}

// items by origin, in the order of their stamps.
type items struct {
	of   [][]item
	sums [][]int64 // of n, up to and including each
	some bool
}

// cover is an override of a certain commit.
type cover struct {
	time uint64
	snap vec
}

// covers by origin, in the order of their stamps.
type covers struct {
	of   [][]cover
	some bool
}

func (r *run) root(o *history.Op) *node {
	k := rootKey{o.Bucket, o.Key, o.Type}
	n := r.roots[k]
	if n == nil {
		n = r.newNode(nil, history.Op{Bucket: o.Bucket, Key: o.Key, Type: o.Type})
		r.roots[k] = n
	}
	return n
}

func (r *run) newNode(parent *node, at history.Op) *node {
	n := &node{at: at, kind: at.Leaf(), parent: parent}
	switch {
	case isMap(n.kind):
		n.children = map[history.Step]*node{}
	case isSet(n.kind):
		n.elements = map[string]*leaf{}
	default:
		n.leaf = r.newLeaf(n, n.kind, "")
	}
	return n
}

func (r *run) newLeaf(on *node, kind, element string) *leaf {
	l := &leaf{on: on, kind: kind, element: element}
	r.leaves = append(r.leaves, l)
	return l
}

func isMap(kind string) bool { return kind == "map" || kind == "map-go" }
func isSet(kind string) bool { return kind == "set-aw" || kind == "set-rw" || kind == "set-go" }

// node finds, or makes, the node that an operation is on.
func (r *run) node(o *history.Op) *node {
	n := r.root(o)
	for _, s := range o.Path {
		n = r.field(n, s)
	}
	return n
}

func (r *run) field(n *node, s history.Step) *node {
	c := n.children[s]
	if c == nil {
		at := n.at
		at.Path = append(slices.Clip(slices.Clone(at.Path)), s)
		c = r.newNode(n, at)
		n.children[s] = c
	}
	return c
}

// member finds, or makes, an element's leaf.
func (r *run) member(n *node, element string) *leaf {
	l := n.elements[element]
	if l == nil {
		kind := "flag-ew"
		if n.kind == "set-rw" {
			kind = "flag-dw"
		}
		l = r.newLeaf(n, kind, element)
		n.elements[element] = l
	}
	return l
}

// plant builds all objects, with what the transactions did to them and the places that reads name.
func (r *run) plant() {
	for i := range r.h.Txns {
		t := &r.h.Txns[i]
		for k := range t.Ops {
			if o := &t.Ops[k]; !o.Writes() {
				r.plantRead(o)
			}
		}
		if r.txns[i].certain || r.txns[i].pending != nil {
			r.plantTxn(i)
		}
	}
	for _, l := range r.leaves {
		for c := range l.items {
			l.items[c].sort()
			l.covers[c].sort()
		}
		l.tries.sort()
	}
	for _, n := range r.roots {
		n.sort()
	}
}

// plantRead makes the places that an answer names, so that what nobody wrote is found as such.
func (r *run) plantRead(o *history.Op) {
	n := r.node(o)
	switch {
	case o.Do == history.Contains:
		r.member(n, o.Element)
	case o.Got != nil:
		r.plantValue(n, o.Got)
	}
}

func (r *run) plantValue(n *node, v *history.Value) {
	switch {
	case isMap(n.kind):
		for i := range v.Fields {
			f := &v.Fields[i]
			r.plantValue(r.field(n, history.Step{Name: f.Name, Type: f.Type}), &f.Value)
		}
	case isSet(n.kind):
		for _, e := range v.List {
			r.member(n, e)
		}
	}
}

// plantTxn puts a transaction's effects where they belong.
func (r *run) plantTxn(i int) {
	r.mark++
	w := overlay{mark: r.mark, run: r}
	t, x := &r.h.Txns[i], &r.txns[i]
	for k := range t.Ops {
		if o := &t.Ops[k]; o.Writes() {
			w.apply(o)
			r.attempt(o)
		}
	}
	for k := range w.effects {
		if e := &w.effects[k]; e.leaf != nil {
			r.plantEffect(i, x, e)
		}
	}
	for _, n := range w.resets {
		r.plantEffect(i, x, &effect{node: n, covers: [2]bool{true, true}})
	}
	for k := range w.effects {
		if e := &w.effects[k]; e.live && e.class == positive {
			e.leaf.tries.note(r, i, e)
		}
	}
}

func (r *run) plantEffect(i int, x *txn, e *effect) {
	overrides := e.covers[positive] || e.covers[disables]
	switch p := x.pending; {
	case p == nil && overrides && x.snap == nil:
		// What it covers is not known, though its stamp is.
		p = r.newPending(i)
		x.pending = p
		fallthrough
	case p != nil:
		kept := *e
		kept.pending = x.pending
		if e.node != nil {
			e.node.unsure = append(e.node.unsure, &kept)
		} else {
			e.leaf.unsure = append(e.leaf.unsure, &kept)
		}
		return
	}
	c := cover{x.time, x.snap}
	if e.node != nil {
		e.node.resets.add(r.regions, x.origin, c)
		return
	}
	for class, does := range e.covers {
		if does {
			e.leaf.covers[class].add(r.regions, x.origin, c)
		}
	}
	if e.live {
		e.leaf.items[e.class].add(r.regions, x.origin, item{x.time, i, e.n, e.text})
	}
}

func (s *items) add(regions, origin int, x item) {
	if !s.some {
		s.of, s.some = make([][]item, regions), true
	}
	s.of[origin] = append(s.of[origin], x)
}

func (s *items) sort() {
	s.sums = make([][]int64, len(s.of))
	for o, list := range s.of {
		slices.SortFunc(list, func(a, b item) int { return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.who, b.who)) })
		var sum int64
		s.sums[o] = make([]int64, len(list))
		for i := range list {
			sum += list[i].n
			s.sums[o][i] = sum
		}
	}
}

// between are an origin's items with stamps above low and at or below high, from i to j.
func (s *items) between(o int, low, high uint64) (i, j int) {
	if low >= high {
		return 0, 0
	}
	at := func(x item, t uint64) int {
		if x.time <= t {
			return -1
		}
		return 1
	}
	i, _ = slices.BinarySearchFunc(s.of[o], low, at)
	j, _ = slices.BinarySearchFunc(s.of[o], high, at)
	return i, j
}

func (s *covers) add(regions, origin int, c cover) {
	if !s.some {
		s.of, s.some = make([][]cover, regions), true
	}
	s.of[origin] = append(s.of[origin], c)
}

// sort makes each override's vector the join of all up to it.
func (s *covers) sort() {
	for _, list := range s.of {
		slices.SortStableFunc(list, func(a, b cover) int { return cmp.Compare(a.time, b.time) })
		for i := 1; i < len(list); i++ {
			before, own := list[i-1].snap, list[i].snap
			switch {
			case own.includes(before):
			case before.includes(own):
				list[i].snap = before
			default:
				list[i].snap = slices.Clone(own)
				list[i].snap.join(before)
			}
		}
	}
}

// covered joins to j what the overrides that a snapshot sees cover.
func (s *covers) covered(snap, j vec) {
	for o, list := range s.of {
		n, _ := slices.BinarySearchFunc(list, snap[o], func(c cover, t uint64) int {
			if c.time <= t {
				return -1
			}
			return 1
		})
		if n > 0 {
			j.join(list[n-1].snap)
		}
	}
}

// sort orders a node and all below it. Of siblings with equal stamps the order stays that of the ids.
func (n *node) sort() {
	n.resets.sort()
	for _, l := range n.elements {
		n.members = append(n.members, l)
	}
	slices.SortFunc(n.members, func(a, b *leaf) int { return strings.Compare(a.element, b.element) })
	for _, c := range n.children {
		n.fields = append(n.fields, c)
		c.sort()
	}
	slices.SortFunc(n.fields, func(a, b *node) int {
		x, y := a.at.Path[len(a.at.Path)-1], b.at.Path[len(b.at.Path)-1]
		return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(x.Type, y.Type))
	})
}

// within reports whether a leaf's node is n or below it.
func (l *leaf) within(n *node) bool {
	for at := l.on; at != nil; at = at.parent {
		if at == n {
			return true
		}
	}
	return false
}

func place(n *node) string { return checker.Place(&n.at) }

// place names a leaf.
func (l *leaf) place() string {
	if isSet(l.on.kind) {
		return place(l.on) + "[" + l.element + "]"
	}
	return place(l.on)
}
