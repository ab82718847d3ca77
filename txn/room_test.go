package txn

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// TestAnswersMayLieInTheCallersRoom: the same answers, whether the room is there, too small or missing,
// and the room is not written to when it is too small.
func TestAnswersMayLieInTheCallersRoom(t *testing.T) {
	r := start(t, vfs.NewCrashableMem(), 1)
	object := func(key kv.Key) kv.Object {
		return kv.Object{Bucket: kv.DefaultBucket, Key: key, Type: crdt.Counter}
	}
	_, err := r.Do(t.Context(), kv.Request{Ops: []kv.Op{
		{Object: object("a"), Verb: kv.VerbIncrement, Int: 3},
		{Object: object("b"), Verb: kv.VerbIncrement, Int: 4},
	}})
	require.NoError(t, err)
	for _, n := range []int{0, 1, 2, 3} {
		room := make([]kv.Value, n)
		resp, err := r.Do(t.Context(), kv.Request{
			Queries: []kv.Query{{Object: object("a")}, {Object: object("b")}}, Room: room,
		})
		require.NoError(t, err)
		require.Len(t, resp.Values, 2)
		require.EqualValues(t, 3, resp.Values[0].Int)
		require.EqualValues(t, 4, resp.Values[1].Int)
		if n < 2 {
			require.Equal(t, make([]kv.Value, n), room)
			continue
		}
		require.Same(t, &room[0], &resp.Values[0])
	}
}
