package convert

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
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
