package kv_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

func TestTypesPrintAsTheyAreRegistered(t *testing.T) {
	for n := range 256 {
		require.Equal(t, crdt.Name(kv.Type(n)), kv.Type(n).String())
	}
	require.Equal(t, "{default likes counter}", fmt.Sprint(kv.Object{Bucket: kv.DefaultBucket, Key: "likes", Type: crdt.Counter}))
}
