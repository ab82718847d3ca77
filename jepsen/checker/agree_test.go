package checker_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/causal"
	"github.com/theriac-db/theriac/jepsen/checker/semantics"
	"github.com/theriac-db/theriac/jepsen/checker/whole"
	"github.com/theriac-db/theriac/jepsen/history"
)

// crashes are the faults that take back what is in memory.
var crashes = checker.Losses{Crashing: []string{"crash"}}

// judges are all checkers that say something of any history of causal level.
func judges() []checker.Checker {
	return []checker.Checker{
		semantics.Checker{Excused: crashes}, causal.Checker{}, whole.LostWrites(crashes), whole.HalfTransactions(), whole.Convergence(), whole.Session(), whole.LongFork(), whole.Swaps(crashes),
	}
}

// requireValid has every checker judge a history, and shows its anomalies.
func requireValid(t *testing.T, h *history.History) {
	t.Helper()
	var file bytes.Buffer
	require.NoError(t, h.Write(&file))
	_, err := history.Read(&file)
	require.NoError(t, err, "the history is none that a file could hold")
	for _, c := range judges() {
		r := c.Check(h, checker.Options{})
		t.Logf("%s: %v", r.Checker, r.Counts)
		if r.Verdict != checker.Valid {
			t.Errorf("%s: %s %s", r.Checker, r.Verdict, r.Note)
			for _, a := range r.Anomalies {
				t.Log(a)
			}
		}
	}
}

// TestCheckersAgreeWithTheDatabase: what the database does is what the checkers take to be right, without
// faults and with them, and when crashes take back what was only applied.
func TestCheckersAgreeWithTheDatabase(t *testing.T) {
	for name, p := range map[string]plan{
		"quiet":   {rounds: 2, txns: 60},
		"faults":  {rounds: 4, txns: 60, faults: true},
		"applied": {rounds: 4, txns: 60, faults: true, applied: true},
	} {
		t.Run(name, func(t *testing.T) { requireValid(t, recorded(t, seeded(t), p)) })
	}
}
