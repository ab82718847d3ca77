package model

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/history"
)

func made(seed uint64, plain bool) *history.History {
	return History(rand.New(rand.NewPCG(seed, 0)).IntN, Shape{Regions: 5, Keys: 20, Callers: 50, Ops: 8, Plain: plain}, 5000)
}

// TestHistoriesAreWellFormed: what is made can be written and read, and holds what doc.go says.
func TestHistoriesAreWellFormed(t *testing.T) {
	for _, plain := range []bool{false, true} {
		h := made(1, plain)
		var file bytes.Buffer
		require.NoError(t, h.Write(&file))
		again, err := history.Read(&file)
		require.NoError(t, err)
		require.Len(t, again.Txns, 5000)
		count := map[any]int{}
		texts := map[string]bool{}
		for _, txn := range again.Txns {
			count[txn.Outcome]++
			count[txn.Level]++
			if txn.Session == 0 {
				count["no session"]++
			}
			for _, o := range txn.Ops {
				require.False(t, o.Writes() && texts[o.Arg.Text], "%s is written twice", o.Key)
				texts[text(o)] = true
			}
		}
		require.InDelta(t, 250, count[history.Unknown], 60)
		require.InDelta(t, 100, count[history.Fail], 40)
		require.Equal(t, plain, count["eventual"] == 0)
		require.Equal(t, plain, count["no session"] == 0)
	}
}

func text(o history.Op) string {
	if o.Writes() {
		return o.Arg.Text
	}
	return ""
}

// TestSameChoicesMakeTheSameHistory: a seed is enough to make a history again.
func TestSameChoicesMakeTheSameHistory(t *testing.T) {
	require.Equal(t, made(3, false), made(3, false))
	require.NotEqual(t, made(3, false), made(4, false))
}
