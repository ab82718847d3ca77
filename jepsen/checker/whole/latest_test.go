package whole

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/jepsen/history"
)

// TestLatestKnowsAsMuchAsAList: of who may have covered a transaction, and whether it certainly saw them all, the
// summary of transactions says what looking at each of them does.
func TestLatestKnowsAsMuchAsAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		txns := make([]history.Txn, rapid.IntRange(1, 5).Draw(t, "transactions"))
		var l latest
		for i := range txns {
			start := rapid.Int64Range(0, 8).Draw(t, "start")
			txns[i] = history.Txn{ID: i + 1, Session: rapid.IntRange(0, 2).Draw(t, "session"), Start: start, End: start + rapid.Int64Range(0, 3).Draw(t, "length"),
				Level: rapid.SampledFrom([]string{"causal", "causal", "eventual"}).Draw(t, "level"), Outcome: history.OK}
			if rapid.IntRange(0, 9).Draw(t, "outcome") == 0 {
				txns[i].Outcome, txns[i].End = history.Unknown, -1
			}
		}
		taken := txns[:rapid.IntRange(0, len(txns)).Draw(t, "taken")]
		for i := range taken {
			for range rapid.IntRange(1, 2).Draw(t, "times") {
				l.take(&taken[i])
			}
		}
		for i := range txns {
			at := &txns[i]
			may, all := false, true
			for j := range taken {
				o := &taken[j]
				if o == at {
					continue
				}
				may = may || o.Outcome == history.Unknown || o.End >= at.Start
				all = all && o.Session != 0 && o.Session == at.Session && o.Outcome == history.OK && o.End < at.Start && at.Level != "eventual"
			}
			require.Equal(t, may, l.mayCover(at), "%v of %v", at, taken)
			require.Equal(t, all, l.allBefore(at), "%v of %v", at, taken)
		}
	})
}
