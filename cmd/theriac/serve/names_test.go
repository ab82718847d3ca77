package serve

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAFolderIsServedWithoutItsName: --region is needed once.
func TestAFolderIsServedWithoutItsName(t *testing.T) {
	dir := t.TempDir()
	startWith(t, "--insecure", "--data", dir, "--region", "ap").end()
	again := startWith(t, "--insecure", "--data", dir)
	require.Equal(t, "ap", again.addresses["region"])
	again.end()
	err := Run(t.Context(), settings(t, "--insecure", "--data", dir, "--region", "local"), io.Discard, io.Discard)
	require.ErrorContains(t, err, `belongs to region "ap", not "local"`)
}

// TestAFolderOfAnotherClusterThanTheOneToJoinIsTold: it goes on with its own cluster, and nobody else would notice.
func TestAFolderOfAnotherClusterThanTheOneToJoinIsTold(t *testing.T) {
	dir := t.TempDir()
	mine := startWith(t, "--insecure", "--data", dir, "--region", "us")
	eu := startServer(t, "--region", "eu")
	var want []string
	for _, r := range []*running{eu, mine} {
		s, err := r.db(t.Context()).Status(t.Context())
		require.NoError(t, err)
		want = append(want, s.Cluster.String())
	}
	mine.end()
	mine = startWith(t, "--insecure", "--data", dir, "--region", "us", "--join", eu.addresses["clients"])
	mine.await("theriac_warnings", is(1))
	mine.await("theriac_ready", is(1))
	answer, err := http.Get("http://" + mine.addresses["admin"] + "/readyz")
	require.NoError(t, err)
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	for _, id := range want {
		require.Contains(t, string(said), "warning: ")
		require.Contains(t, string(said), id)
	}
}
