package door

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// dying crashes during each call, which then answers.
type dying struct {
	kv.Service
	door *Door
	err  error
}

func (s dying) Do(context.Context, kv.Request) (kv.Response, error) {
	s.door.Shut()
	return kv.Response{}, s.err
}

// What an error tells of the data a crash may have taken back, as an answer.
func TestNoAnswerLeavesARegionThatIsDown(t *testing.T) {
	token := kv.Token{Cluster: kv.ClusterID{1}, Seen: clock.VectorOf(clock.Entry{Region: 1, Time: 5})}
	aborted := kv.Errorf(kv.KindAborted, "it has another value")
	for name, c := range map[string]struct {
		err     error
		kind    kv.Kind
		outcome kv.Outcome
	}{
		"answer":               {nil, kv.KindUnavailable, kv.OutcomeUnknown},
		"error":                {aborted, kv.KindAborted, kv.NotApplied},
		"error with a token":   {kv.WithToken(aborted, token), kv.KindUnavailable, kv.NotApplied},
		"applied with a token": {kv.WithToken(aborted.WithOutcome(kv.Applied), token), kv.KindUnavailable, kv.OutcomeUnknown},
	} {
		d := New("eu")
		d.Open(dying{door: d, err: c.err})
		_, err := d.Do(t.Context(), kv.Request{Ops: make([]kv.Op, 1)})
		require.Equal(t, c.kind, kv.KindOf(err), name)
		require.Equal(t, c.outcome, kv.OutcomeOf(err), name)
		require.True(t, kv.TokenOf(err).IsZero(), name)
	}
}

// A retry that is not let in says nothing of the tries before it.
func TestARetryOfARegionThatIsDownLeavesItsOutcomeOpen(t *testing.T) {
	d, id := New("eu"), kv.OpID{1}
	req := kv.Request{Ops: make([]kv.Op, 1), Options: kv.Options{Attempt: kv.Attempt{ID: id}}}
	_, err := d.Do(t.Context(), req)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err), "a first try")
	req.Options.Attempt.Retry = true
	_, err = d.Do(t.Context(), req)
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
	var e *kv.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, id, e.ID)
}
