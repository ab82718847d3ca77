package cli

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/kv"
)

// Commands that take several calls have the level of their buckets, too, where they name none.
func TestCommandsHaveTheLevelOfTheirBuckets(t *testing.T) {
	svc := &faulty{Service: memkv.New().Node(1, "eu")}
	for _, rules := range []kv.BucketRules{
		{Name: "quorum", Consistency: kv.Consistency{Level: kv.LevelQuorum}},
		{Name: "strong", Levels: []kv.Level{kv.LevelStrong}},
	} {
		_, err := svc.CreateBucket(t.Context(), rules)
		require.NoError(t, err)
	}
	theriac := func(in string, args ...string) (int, string, string) {
		app, stdout, stderr := newTestApp(svc, in)
		code := app.Run(context.Background(), args)
		return code, stdout.String(), stderr.String()
	}
	var all string
	for _, b := range []string{"plain", "quorum", "strong"} {
		code, _, stderr := theriac("", "counter", "add", "n", "1", "--bucket", b)
		require.Equal(t, ExitOK, code, stderr)
		for _, cmd := range [][]string{{"get", "n"}, {"keys"}, {"export"}} {
			code, stdout, stderr := theriac("", append(cmd, "--bucket", b)...)
			require.Equal(t, ExitOK, code, stderr)
			require.Contains(t, stdout, "counter")
			code, _, _ = theriac("", append(cmd, "--bucket", b, "--consistency", "causal")...)
			require.Equal(t, b == "strong", code != ExitOK, "what the command names is kept")
		}
		all += fmt.Sprintf(`{"bucket":%q,"key":"n","type":"counter","value":1}`+"\n", b)
	}
	code, stdout, stderr := theriac("", "export")
	require.Equal(t, ExitOK, code, stderr)
	require.Equal(t, all, stdout)

	// Reading what the lines before have written takes an interactive transaction.
	lines := "counter add n 1 --bucket plain\ncounter get n --bucket plain\ncounter add n 1 --bucket quorum\ncounter get n --bucket strong\n"
	code, stdout, stderr = theriac(lines, "txn", "-", "--receipt")
	require.Equal(t, ExitOK, code, stderr)
	require.Equal(t, "n 2\nn 1\n", stdout)
	require.Contains(t, stderr, "level strong")
	code, _, stderr = theriac(lines, "txn", "-", "--consistency", "quorum")
	require.Equal(t, ExitUsage, code, stderr)

	code, _, stderr = theriac("", "del", "n", "--bucket", "strong")
	require.Equal(t, ExitOK, code, stderr)
}
