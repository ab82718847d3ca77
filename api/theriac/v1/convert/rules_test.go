package convert

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

func TestRulesOfBucketsComeBack(t *testing.T) {
	full := kv.BucketRules{
		Name: "b", Generation: 3, Created: 1 << 50, Types: []kv.Type{1, 6}, Levels: []kv.Level{kv.LevelBounded, kv.LevelStrong},
		Consistency: kv.Consistency{Level: kv.LevelBounded, Bound: 2 * time.Second, BoundFail: true},
		Reach:       kv.Reach{Durability: kv.DurabilityRegions, Regions: 2},
	}
	for _, r := range []kv.BucketRules{{Name: "plain"}, full} {
		m, err := EncodeRules(r)
		require.NoError(t, err)
		back, err := DecodeRules(m)
		require.NoError(t, err)
		require.Equal(t, r, back)
	}
	list := []kv.DecidedRules{{BucketRules: full, Since: 7, Pending: []string{"eu", "us"}}, {BucketRules: kv.BucketRules{Name: "plain"}}}
	back, err := DecodeDecidedList(EncodeDecidedList(list))
	require.NoError(t, err)
	require.Equal(t, list, back)
}

func TestRulesThatMakeNoSenseAreRefused(t *testing.T) {
	_, err := EncodeRules(kv.BucketRules{})
	require.ErrorIs(t, err, kv.ErrInvalid)
	for name, c := range map[string]struct {
		m    *pb.BucketRules
		want error
	}{
		"none":            {nil, kv.ErrInvalid},
		"reserved":        {&pb.BucketRules{Name: "theriac.x"}, kv.ErrInvalid},
		"no type":         {&pb.BucketRules{Name: "b", Types: []pb.Type{0}}, kv.ErrInvalid},
		"unknown type":    {&pb.BucketRules{Name: "b", Types: []pb.Type{200}}, kv.ErrInvalid},
		"no level":        {&pb.BucketRules{Name: "b", Levels: []pb.Level{-1}}, kv.ErrLevelRefused},
		"unknown level":   {&pb.BucketRules{Name: "b", Levels: []pb.Level{77}}, kv.ErrLevelRefused},
		"unknown default": {&pb.BucketRules{Name: "b", Level: 300}, kv.ErrLevelRefused},
		"no bound":        {&pb.BucketRules{Name: "b", Level: pb.Level_LEVEL_BOUNDED}, kv.ErrInvalid},
		"no regions":      {&pb.BucketRules{Name: "b", Durability: pb.Durability_DURABILITY_REGIONS}, kv.ErrInvalid},
	} {
		_, err := DecodeRules(c.m)
		require.ErrorIs(t, err, c.want, name)
	}
	_, err = DecodeDecidedList(&pb.BucketRulesResponse{Buckets: []*pb.DecidedRules{{}}})
	require.ErrorIs(t, err, kv.ErrInvalid)
}

func TestDropsOfBucketsComeBack(t *testing.T) {
	token := kv.Token{Cluster: kv.ClusterID{1}, Seen: clock.VectorOf(clock.Entry{Region: 2, Time: 9})}
	for _, r := range []kv.DropRequest{{Bucket: "b"}, {Bucket: "b", WithData: true, Token: token}} {
		m, err := EncodeDrop(r)
		require.NoError(t, err)
		back, err := DecodeDrop(m)
		require.NoError(t, err)
		require.Equal(t, r, back)
	}
	d := kv.DroppedBucket{Generation: 3, Receipt: kv.Receipt{Level: kv.LevelStrong, Commit: clock.Stamp{Time: 7}, Token: token}}
	back, err := DecodeDropped(EncodeDropped(d))
	require.NoError(t, err)
	require.Equal(t, d.Generation, back.Generation)
	require.Equal(t, d.Receipt.Commit, back.Receipt.Commit)
	require.Equal(t, token, back.Receipt.Token)
	_, err = EncodeDrop(kv.DropRequest{})
	require.ErrorIs(t, err, kv.ErrInvalid)
	_, err = DecodeDrop(&pb.DropBucketRequest{Bucket: "theriac.import"})
	require.ErrorIs(t, err, kv.ErrInvalid)
	_, err = DecodeDrop(&pb.DropBucketRequest{Bucket: "b", Token: []byte("none")})
	require.ErrorIs(t, err, kv.ErrInvalid)
	_, err = DecodeDropped(&pb.DropBucketResponse{Receipt: &pb.Receipt{Token: []byte("none")}})
	require.Error(t, err)
}
