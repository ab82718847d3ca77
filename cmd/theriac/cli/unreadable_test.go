package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// wideCounters is a cluster whose regions have added to counters, concurrently, more than 64 bits hold:
// one alone, one in a map, and one in the middle of a map that takes several pages.
func wideCounters(t *testing.T) *embedded.Cluster {
	c, err := embedded.StartCluster(t.Context(), embedded.ClusterOptions{Regions: []string{"eu", "us"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	require.NoError(t, c.DB("eu").Update(t.Context(), func(tx *client.Tx) error {
		var errs []error
		for i := range exportBatch + 50 {
			errs = append(errs, tx.Counter(fmt.Sprintf("fill-%03d", i)).Add(t.Context(), 1))
		}
		for i := range 3 * pageLimit {
			errs = append(errs, tx.Map("large").Counter(fmt.Sprintf("%05d", i)).Add(t.Context(), 1))
		}
		return errors.Join(append(errs, tx.Map("zmap").Flag("f").Enable(t.Context()))...)
	}))
	_, err = c.Converge(t.Context())
	require.NoError(t, err)
	c.Cut("eu", "us")
	for _, region := range c.Regions() {
		db := c.DB(region)
		for _, n := range []client.Counter{db.Counter("wide"), db.Map("zmap").Counter("n"), db.Map("large").Counter("01500x")} {
			require.NoError(t, n.Add(t.Context(), 1<<62))
		}
	}
	c.Heal("eu", "us")
	_, err = c.Converge(t.Context())
	require.NoError(t, err)
	return c
}

// What can't be read is named, keeps nobody from the rest, and can be put right by what the errors say.
func TestUnreadableCountersKeepNobodyFromTheRest(t *testing.T) {
	c := wideCounters(t)
	at := listenFor(t, c.Service("eu"), nil)
	theriac := func(args ...string) (int, string, string) {
		return overNetwork(append(args, "--addr", at, "--insecure")...)
	}
	code, keys, stderr := theriac("keys")
	require.Equal(t, ExitOK, code, stderr)
	require.Equal(t, exportBatch+50+3, strings.Count(keys, "\n"))

	const advice = "or reset it: theriac del KEY --type counter, theriac map remove KEY FIELD:counter"
	for command, named := range map[string]string{
		"counter get wide": `key "wide" in "default": the counter's value is beyond 64 bits`,
		"map get zmap":     `key "zmap" in "default": field "n": the counter's value is beyond 64 bits`,
		"get zmap":         `field "n"`,
	} {
		code, _, stderr := theriac(strings.Fields(command)...)
		require.Equal(t, ExitCondition, code, stderr)
		require.Contains(t, stderr, named)
		require.Contains(t, stderr, advice)
	}
	file := filepath.Join(t.TempDir(), "out.jsonl")
	code, _, stderr = theriac("export", "--file", file)
	require.Equal(t, ExitCondition, code, stderr)
	require.Contains(t, stderr, "reading map large of bucket default: ")
	require.Contains(t, stderr, "--skip-unreadable exports the rest")
	require.NoFileExists(t, file)

	code, _, stderr = theriac("export", "--file", file, "--skip-unreadable")
	require.Equal(t, ExitPart, code, stderr)
	require.Contains(t, stderr, "exported, but for 3 objects")
	for _, left := range []string{`left out: reading counter wide`, `left out: reading map zmap`, `left out: reading map large`} {
		require.Contains(t, stderr, left)
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, exportBatch+50, strings.Count(string(text), `"key":"fill-`))
	require.Contains(t, string(text), "00999", "the large map is there up to the page with the counter")
	require.NotContains(t, string(text), "02999")
	require.NotContains(t, string(text), `"key":"wide"`)

	for _, repair := range []string{"counter add wide -4611686018427387904", "map remove zmap n:counter", "map remove large 01500x:counter"} {
		code, _, stderr := theriac(strings.Fields(repair)...)
		require.Equal(t, ExitOK, code, stderr)
	}
	code, stdout, stderr := theriac("export", "--skip-unreadable")
	require.Equal(t, ExitOK, code, stderr)
	require.Contains(t, stdout, `"key":"wide","type":"counter","value":4611686018427387904`)
	for _, field := range []string{"00000", "01499", "01500", "02999"} {
		require.Contains(t, stdout, field)
	}
}

// oversized is a database in which one object is larger than any answer.
type oversized struct {
	kv.Service
	key kv.Key
}

func (o oversized) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	for _, q := range queries {
		if q.Key == o.key {
			return nil, kv.Errorf(kv.KindTooLarge, "an answer of more than %d bytes", kv.MaxAnswerBytes)
		}
	}
	return o.Service.Execute(ctx, id, ops, queries)
}

func TestOversizedObjectsKeepNobodyFromTheRest(t *testing.T) {
	svc := oversized{memkv.New().Node(1, "eu"), "k1"}
	var ops []kv.Op
	for i := range 3 {
		o := kv.Object{Bucket: kv.DefaultBucket, Key: kv.Key(fmt.Sprintf("k%d", i)), Type: crdt.RegisterMV}
		ops = append(ops, kv.Op{Object: o, Verb: kv.VerbAssign, Data: []byte("x")})
	}
	_, err := svc.Do(t.Context(), kv.Request{Ops: ops})
	require.NoError(t, err)
	app, _, stderr := newTestApp(svc, "")
	require.Equal(t, ExitUsage, app.Run(t.Context(), []string{"export"}))
	require.Contains(t, stderr.String(), "reading register-mv k1 of bucket default: an answer of more than")
	app, stdout, stderr := newTestApp(svc, "")
	require.Equal(t, ExitPart, app.Run(t.Context(), []string{"export", "--skip-unreadable"}))
	require.Contains(t, stderr.String(), "left out: reading register-mv k1")
	require.Contains(t, stdout.String(), `"key":"k0"`)
	require.NotContains(t, stdout.String(), `"key":"k1"`)
	require.Contains(t, stdout.String(), `"key":"k2"`)
	app, _, stderr = newTestApp(svc, "")
	require.Equal(t, ExitPart, app.Run(t.Context(), []string{"export", "--skip-unreadable", "-o", "json"}))
	require.True(t, strings.HasPrefix(stderr.String(), `{"left_out":"reading register-mv k1`), stderr)
}
