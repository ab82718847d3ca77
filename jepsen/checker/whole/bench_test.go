package whole

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// serial is a correct history of n transactions with 5% of unknown outcome: one after the other, in
// regions that always hold everything, on many keys. Four operations each.
func serial(n int) *history.History {
	s := serialModel{r: rand.New(rand.NewPCG(1, 2)), n: n, regs: map[string]string{}, sums: map[string]int64{}, sets: map[string][]string{}}
	s.h = &history.History{Header: history.Header{Version: history.Version, Workload: "serial", Regions: modelRegions,
		Notes: map[string]string{NoteAccounts: "n0,n1,n2", NoteTotal: "0", NotePrescription: "r*", NotePointer: "q*"}}}
	for i := range n {
		s.txn(i)
	}
	s.final()
	return s.h
}

type serialModel struct {
	h    *history.History
	r    *rand.Rand
	n    int
	regs map[string]string
	sums map[string]int64
	sets map[string][]string
}

func (s *serialModel) txn(i int) {
	session := i % 50
	t := history.Txn{ID: i + 1, Process: i + 1, Session: session, Region: modelRegions[s.r.IntN(3)], Level: "causal", Durability: "local",
		Start: int64(i) * 10, End: int64(i)*10 + 9, Outcome: history.OK}
	k := s.r.IntN(1 + s.n/20)
	r1, r2, set := fmt.Sprintf("r%d", k), fmt.Sprintf("q%d", k), fmt.Sprintf("s%d", s.r.IntN(1+s.n/40))
	from, to := fmt.Sprintf("n%d", s.r.IntN(3)), fmt.Sprintf("n%d", s.r.IntN(3))
	mark := fmt.Sprintf("m%d", i)
	applied := true
	if s.r.IntN(20) == 0 {
		t.Outcome, applied = history.Unknown, s.r.IntN(2) == 0
	}
	if s.r.IntN(2) == 0 {
		t.Ops = []history.Op{assign(r1, "register-lww", mark), assign(r2, "register-lww", mark),
			{Do: history.Insert, Key: set, Type: "set-aw", Element: mark}, plus(from, -1), plus(to, 1)}
		if applied {
			s.regs[r1], s.regs[r2] = mark, mark
			s.sums[from]--
			s.sums[to]++
			s.sets[set] = append(s.sets[set], mark)
		}
	} else {
		t.Ops = []history.Op{get(r1, "register-lww"), get(r2, "register-lww"), get(set, "set-aw"),
			get("n0", "counter"), get("n1", "counter"), get("n2", "counter")}
		s.answer(&t)
	}
	if t.Outcome == history.Unknown {
		stripAnswers(&t)
	}
	s.h.Txns = append(s.h.Txns, t)
}

func (s *serialModel) answer(t *history.Txn) {
	for j := range t.Ops {
		o := &t.Ops[j]
		switch o.Type {
		case "counter":
			o.Got = &history.Value{Int: s.sums[o.Key]}
		case "register-lww":
			o.Got = &history.Value{Text: s.regs[o.Key], Absent: s.regs[o.Key] == ""}
		default:
			list := s.sets[o.Key]
			o.Got = &history.Value{List: list[:len(list):len(list)]}
		}
	}
}

func (s *serialModel) final() {
	for i, region := range modelRegions {
		t := history.Txn{ID: s.n + i + 1, Process: s.n + i + 1, Region: region, Level: "causal", Start: int64(s.n) * 10, End: int64(s.n) * 10, Outcome: history.OK, Final: true}
		for k := range 1 + s.n/20 {
			t.Ops = append(t.Ops, get(fmt.Sprintf("r%d", k), "register-lww"), get(fmt.Sprintf("q%d", k), "register-lww"))
		}
		for k := range 1 + s.n/40 {
			t.Ops = append(t.Ops, get(fmt.Sprintf("s%d", k), "set-aw"))
		}
		t.Ops = append(t.Ops, get("n0", "counter"), get("n1", "counter"), get("n2", "counter"))
		s.answer(&t)
		s.h.Txns = append(s.h.Txns, t)
	}
}

// TestSerialHistoriesAreValid: the history of the benchmarks is a correct one.
func TestSerialHistoriesAreValid(t *testing.T) {
	h := serial(2000)
	for _, c := range checkers {
		if r := c.Check(h, checker.Options{}); r.Verdict != checker.Valid {
			t.Errorf("%s: %s %v %s", c.Name(), r.Verdict, r.Anomalies, r.Note)
		}
	}
}

func BenchmarkWhole(b *testing.B) {
	for _, n := range []int{10_000, 30_000, 100_000} {
		h := serial(n)
		for _, c := range append(checkers, Exercised(nil)) {
			b.Run(fmt.Sprintf("%s/%d", c.Name(), n), func(b *testing.B) {
				b.ReportAllocs()
				for range b.N {
					if r := c.Check(h, checker.Options{}); r.Verdict != checker.Valid {
						b.Fatal(r.Verdict, r.Anomalies)
					}
				}
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "txn/s")
			})
		}
	}
}
