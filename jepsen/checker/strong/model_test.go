package strong

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/theriac-db/theriac/jepsen/history"
)

// mode is what the model database of these tests does.
type mode int

const (
	atOnce    mode = iota // a transaction takes place at one instant: strictly serializable
	snapshots             // reads at its start, writes at its end if nobody wrote the same meanwhile
	replicas              // each region has a copy, and takes over those of others now and then
)

// cell is what the model holds under a key.
type cell struct {
	value string
	clock int
}

// maker makes histories by running random transactions against a model.
type maker struct {
	rng   *rand.Rand
	mode  mode
	keys  int
	data  []map[string]cell // by region; only replicas has several
	h     *history.History
	last  int
	clock int
	open  []*running
}

type running struct {
	txn    history.Txn
	view   map[string]cell
	region int
	done   bool // took effect, at once
}

var regions = []string{"eu", "us", "ap"}

// makeHistory makes a history of n transactions of some concurrent processes, 5% of them of unknown
// outcome and 5% failed.
func makeHistory(seed uint64, m mode, n, processes, keys int) *history.History {
	k := &maker{rng: rand.New(rand.NewPCG(seed, 1)), mode: m, keys: keys,
		h: &history.History{Header: history.Header{Version: history.Version, Workload: "model", Regions: regions}}}
	for range regions {
		k.data = append(k.data, map[string]cell{})
	}
	k.open = make([]*running, processes)
	names := make([]int, processes)
	for i := range names {
		names[i] = i + 1
	}
	for next := processes + 1; len(k.h.Txns) < n; {
		k.clock++
		p := k.rng.IntN(processes)
		switch r := k.open[p]; {
		case r == nil:
			k.begin(p, names[p])
		case !r.done:
			k.apply(r)
			r.done = true
		default:
			if k.end(r) == history.Unknown {
				names[p] = next
				next++
			}
			k.open[p] = nil
		}
		if m == replicas && k.rng.IntN(4) == 0 {
			k.merge(k.rng.IntN(len(regions)), k.rng.IntN(len(regions)))
		}
	}
	for _, r := range k.open {
		if r != nil && r.done {
			k.clock++
			k.end(r)
		}
	}
	slices.SortFunc(k.h.Txns, func(a, b history.Txn) int { return int(a.Start - b.Start) })
	for i := range k.h.Txns {
		k.h.Txns[i].ID = i + 1
	}
	return k.h
}

func (k *maker) copyOf(p int) int {
	if k.mode == replicas {
		return p % len(regions)
	}
	return 0
}

func (k *maker) begin(p, process int) {
	r := &running{region: k.copyOf(p)}
	r.txn = history.Txn{Process: process, Session: process, Region: regions[p%len(regions)], Level: "strong",
		Start: int64(k.clock), Outcome: history.OK}
	if k.mode == snapshots {
		r.view = map[string]cell{}
		for key, c := range k.data[0] {
			r.view[key] = c
		}
	}
	k.open[p] = r
}

// apply runs the transaction against its view.
func (k *maker) apply(r *running) {
	switch d := k.rng.IntN(20); {
	case d == 0:
		r.txn.Outcome = history.Fail
	case d == 1:
		r.txn.Outcome = history.Unknown
	}
	data := k.data[r.region]
	if k.mode == snapshots {
		data = r.view
	}
	wrote := map[string]cell{}
	for range 1 + k.rng.IntN(4) {
		k.op(r, data, wrote)
	}
	k.commit(r, data, wrote)
}

func (k *maker) op(r *running, data, wrote map[string]cell) {
	key := fmt.Sprintf("k%d", k.rng.IntN(k.keys))
	c, own := wrote[key]
	if !own {
		c = data[key]
	}
	o := history.Op{Do: history.Get, Key: key, Type: "register-lww"}
	if k.rng.IntN(2) == 0 {
		o.Got = valueOf(c)
	} else {
		k.last++
		o.Do, o.Arg = history.Assign, &history.Value{Text: fmt.Sprint(k.last)}
		if k.rng.IntN(4) == 0 {
			o.Expect = valueOf(c)
		}
		wrote[key] = cell{o.Arg.Text, 0}
	}
	r.txn.Ops = append(r.txn.Ops, o)
}

func valueOf(c cell) *history.Value {
	if c.value == "" {
		return &history.Value{Absent: true}
	}
	return &history.Value{Text: c.value}
}

func (k *maker) commit(r *running, data, wrote map[string]cell) {
	if r.txn.Outcome == history.Unknown && k.rng.IntN(2) == 0 {
		return
	}
	clock := 0
	for key := range wrote {
		if k.mode == snapshots && k.data[0][key] != data[key] {
			r.txn.Outcome = history.Fail // somebody wrote it since
		}
	}
	if r.txn.Outcome == history.Fail {
		return
	}
	if k.mode == replicas {
		for _, c := range k.data[r.region] {
			clock = max(clock, c.clock)
		}
	}
	for key, c := range wrote {
		k.data[r.region][key] = cell{c.value, clock/8*8 + 8 + r.region}
	}
}

// merge takes over all of another region's copy, the newer value of each key.
func (k *maker) merge(to, from int) {
	for key, c := range k.data[from] {
		if c.clock > k.data[to][key].clock {
			k.data[to][key] = c
		}
	}
}

func (k *maker) end(r *running) history.Outcome {
	r.txn.End = int64(k.clock)
	if r.txn.Outcome == history.Unknown && k.rng.IntN(2) == 0 {
		r.txn.End = -1
	}
	k.h.Txns = append(k.h.Txns, r.txn)
	return r.txn.Outcome
}
