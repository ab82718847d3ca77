package strong

import (
	"fmt"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
)

const lostUpdate = "lost update"

// tell tells a cycle in words.
func (s *searcher) tell(cycle []edge) {
	cycle = withoutHubs(cycle)
	cycle = fromLowest(cycle)
	var txns []int
	for _, e := range cycle {
		s.told[e.from] = true
		txns = append(txns, int(e.from)+1)
	}
	slices.Sort(txns)
	txns = slices.Compact(txns)
	var b strings.Builder
	for _, id := range txns {
		b.WriteString(checker.Describe(&s.x.txns[id-1]) + "; ")
	}
	parts, order := make([]string, len(cycle)), make([]checker.Step, len(cycle))
	for i, e := range cycle {
		parts[i] = s.x.reason(&e)
		order[i] = checker.Step{From: int(e.from) + 1, To: int(e.to) + 1, Why: parts[i]}
	}
	b.WriteString("but " + strings.Join(parts, ", and ") + ": no order of them is possible")
	s.anomalies = append(s.anomalies, checker.Anomaly{Name: name(cycle), Txns: txns, Text: b.String(), Order: order})
}

// withoutHubs joins the two halves of anti-dependencies through hubs.
func withoutHubs(cycle []edge) []edge {
	var out []edge
	for i, e := range cycle {
		if e.kind == onward {
			continue
		}
		if on := &cycle[(i+1)%len(cycle)]; e.kind == rw && on.kind == onward {
			e.to, e.b, e.why, e.by = on.to, on.b, on.why, on.by
		}
		out = append(out, e)
	}
	return out
}

// fromLowest begins a cycle at its first transaction, so that it is always told the same way.
func fromLowest(cycle []edge) []edge {
	at := 0
	for i := range cycle {
		if cycle[i].from < cycle[at].from {
			at = i
		}
	}
	return append(slices.Clone(cycle[at:]), cycle[:at]...)
}

// reason says why the one transaction is before the other.
func (x *index) reason(e *edge) string {
	from, to := e.from+1, e.to+1
	before := fmt.Sprintf("T%d is before T%d because ", from, to)
	switch e.kind {
	case so:
		return before + fmt.Sprintf("it came earlier in session %d", x.txns[e.from].Session)
	case rt:
		return before + fmt.Sprintf("it ended at %d and T%d began at %d", x.txns[e.from].End, to, x.txns[e.to].Start)
	}
	r := x.registers[e.register]
	a, b := r.versions[e.a].text, r.versions[e.b].text
	switch e.kind {
	case wr:
		return before + fmt.Sprintf("T%d read its %s = %s", to, r.name, a)
	case ww:
		return before + fmt.Sprintf("T%d wrote %s = %s after its %s%s", to, r.name, b, a, x.evidence(e, a, b))
	}
	return before + fmt.Sprintf("it read %s = %s, which T%d replaced with %s%s", r.name, a, to, b, x.evidence(e, a, b))
}

// evidence says how the order of two values is known.
func (x *index) evidence(e *edge, a, b string) string {
	switch e.why {
	case traceable:
		return fmt.Sprintf(" (T%d read %s when it wrote %s)", e.by+1, a, b)
	case inSession:
		return fmt.Sprintf(" (T%d of the same session had already seen %s)", e.by+1, a)
	case inRealTime:
		return fmt.Sprintf(" (T%d, which saw %s, ended at %d, before the one that wrote %s began)", e.by+1, a, x.txns[e.by].End, b)
	}
	return ""
}

// name is the field's term for a cycle.
func name(cycle []edge) string {
	var kinds kind
	anti, adjacent := 0, false
	for i, e := range cycle {
		kinds |= e.kind
		if e.kind == rw {
			anti++
			adjacent = adjacent || len(cycle) > 1 && cycle[(i+1)%len(cycle)].kind == rw
		}
	}
	switch {
	case kinds&rt != 0:
		return nameInTime(anti, kinds)
	case kinds == ww:
		return "dirty write (G0)"
	case anti == 0:
		return "circular information flow (G1c)"
	case len(cycle) == 2 && kinds&(wr|so) == 0 && cycle[0].register == cycle[1].register:
		return lostUpdate
	case anti == 1:
		return nameSingle(cycle, kinds)
	case !adjacent:
		return "long fork"
	}
	return "write skew (G2-item)"
}

func nameInTime(anti int, kinds kind) string {
	switch {
	case anti == 0 && kinds == wr|rt:
		return "read from the future (real-time violation)"
	case anti == 0:
		return "circular information flow (G1c, real-time violation)"
	case anti == 1:
		return "stale read (real-time violation)"
	}
	return "write skew (G2-item, real-time violation)"
}

// nameSingle names a cycle with one anti-dependency.
func nameSingle(cycle []edge, kinds kind) string {
	switch {
	case kinds == rw|so:
		return "read of what the session had replaced (read your writes)"
	case kinds == rw|so|wr && len(cycle) == 3:
		return "non-monotonic read"
	case kinds == rw|wr && len(cycle) == 2:
		return "read skew (G-single, fractured read)"
	case kinds&ww == 0 && len(cycle) > 2:
		return "read skew (G-single, causality violation)"
	}
	return "read skew (G-single)"
}
