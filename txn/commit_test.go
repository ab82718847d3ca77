package txn

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// recorder notes in which order groups are shown.
type recorder struct {
	Exposure
	shown []clock.Timestamp
}

func (r *recorder) LocalApplied(t clock.Timestamp, _ clock.Vector) { r.shown = append(r.shown, t) }

// A group above the durable bound may not be shown, and none after it before it is.
func TestGroupsAreShownInOrderAndBelowTheBound(t *testing.T) {
	r := &recorder{}
	c := &Committer{exposure: r, bound: 10}
	applied := func(time clock.Timestamp) (*group, *commit) {
		w := &commit{durability: kv.DurabilityApplied, answer: make(chan result, 1)}
		g := &group{c: c, time: time, commits: []*commit{w}, ready: []result{{}}}
		g.Applied()
		return g, w
	}
	_, below := applied(10)
	require.Len(t, below.answer, 1)
	_, above := applied(11)
	require.Empty(t, above.answer, "a crash would forget that 11 was used")
	_, later := applied(30)
	c.raiseBound(20)
	require.Len(t, above.answer, 1)
	require.Empty(t, later.answer)
	failed, _ := applied(31)
	failed.forget()
	c.raiseBound(40)
	require.Len(t, later.answer, 1)
	require.Equal(t, []clock.Timestamp{10, 11, 30}, r.shown)
}

// A store that has failed asks jobs in its queue for nothing: who waits for their group hears of it.
func TestCommitsOfAGroupThatNeverFormedAreAnswered(t *testing.T) {
	c := &Committer{ids: newOpTable(), kicked: true}
	w := newCommit(kv.Attempt{ID: kv.OpID{1}}, kv.DurabilityLocal)
	w.answer, w.decided = make(chan result, 1), make(chan struct{})
	c.queue, c.ids.underWay[w.attempt.ID] = []*commit{w, nil}, w
	(&group{c: c}).Durable(kv.Errorf(kv.KindReadOnly, "the disk is full"))
	r := <-w.answer
	require.ErrorIs(t, r.err, kv.ErrReadOnly)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(r.err))
	<-w.decided
	require.Empty(t, c.queue)
	require.Empty(t, c.ids.underWay)
	require.False(t, c.kicked, "a later commit submits a group of its own")
}
