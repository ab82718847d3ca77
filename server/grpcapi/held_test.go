package grpcapi

import (
	"testing"

	"github.com/stretchr/testify/require"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/kv"
)

func TestRequestsUnderWayAreBounded(t *testing.T) {
	var h held
	require.NoError(t, h.take(2*maxHeld, false), "one alone may be of any size")
	err := h.take(1, false)
	require.ErrorIs(t, err, kv.ErrOverloaded)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(h.take(1, true)), "of the tries before a retry it knows nothing")
	h.give(2 * maxHeld)
	require.NoError(t, h.take(maxHeld, false))
	h.give(maxHeld)
	require.Zero(t, h.bytes.Load())
}

func TestRequestsGiveBackWhatTheyHeld(t *testing.T) {
	d := &door{cfg: Config{Service: memkv.New().Node(1, "eu"), Authorizer: AllowAll{}}, open: newOpenTable(1)}
	set := func(data []byte) []*pb.Operation {
		return []*pb.Operation{{Bucket: "b", Key: []byte("k"), Type: pb.Type_TYPE_REGISTER_LWW, Verb: &pb.Operation_Assign{Assign: data}}}
	}
	_, err := d.do(t.Context(), &pb.DoRequest{Operations: set([]byte("x"))})
	require.NoError(t, err)
	_, err = d.do(t.Context(), &pb.DoRequest{Operations: []*pb.Operation{{}}})
	require.Error(t, err)
	_, err = d.Execute(t.Context(), &pb.ExecuteRequest{Operations: set([]byte("x"))})
	require.Error(t, err)
	require.Zero(t, d.held.bytes.Load())
	d.held.bytes.Store(maxHeld)
	_, err = d.do(t.Context(), &pb.DoRequest{Operations: set([]byte("x"))})
	require.ErrorIs(t, err, kv.ErrOverloaded)
	_, err = d.Execute(t.Context(), &pb.ExecuteRequest{Operations: set([]byte("x"))})
	require.Error(t, err)
	require.EqualValues(t, maxHeld, d.held.bytes.Load())
	require.EqualValues(t, stepCost+1+1000, weight(set(make([]byte, 1000)), nil))
}
