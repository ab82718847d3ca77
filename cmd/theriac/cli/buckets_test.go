package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// An export goes through all buckets, however many pages their names take.
func TestExportOfMoreBucketsThanAPageHolds(t *testing.T) {
	svc := &faulty{Service: memkv.New().Node(1, "eu")}
	var ops []kv.Op
	var want strings.Builder
	for i := range 2*keysPage + 1 {
		bucket := fmt.Sprintf("b%05d", i)
		ops = append(ops, kv.Op{Object: kv.Object{Bucket: kv.Bucket(bucket), Key: "k", Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: 1})
		fmt.Fprintf(&want, `{"bucket":%q,"key":"k","type":"counter","value":1}`+"\n", bucket)
	}
	_, err := svc.Do(t.Context(), kv.Request{Ops: ops})
	require.NoError(t, err)
	app, stdout, stderr := newTestApp(svc, "")
	require.Equal(t, ExitOK, app.Run(context.Background(), []string{"export"}), stderr)
	require.Equal(t, want.String(), stdout.String())
}
