package serve

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
)

// ask sends a request without a body to the admin port.
func (r *running) ask(method, path string) (int, string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, method, "http://"+r.addresses["admin"]+path, http.NoBody)
	require.NoError(r.t, err)
	answer, err := http.DefaultClient.Do(q)
	require.NoError(r.t, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	require.NoError(r.t, err)
	return answer.StatusCode, string(b)
}

// exposed is the time of the newest write that the node shows.
func exposed(ctx context.Context, t *testing.T, db *client.DB) time.Time {
	t.Helper()
	s, err := db.Status(ctx)
	require.NoError(t, err)
	return s.Exposed.Max().Wall().Time()
}

func TestANodeStartedForTestsCanBeMadeIll(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r := startServer(t, "--test-faults")
	_, ready := r.ask("GET", "/readyz")
	require.Contains(t, ready, "warning: test faults are on")
	_, page := r.ask("GET", "/")
	require.Contains(t, page, "test faults are on")
	_, metrics := r.ask("GET", "/metrics")
	require.Contains(t, metrics, "theriac_warnings 1\n")

	db := r.db(ctx)
	require.NoError(t, db.Counter("n").Add(ctx, 1))
	require.WithinDuration(t, time.Now(), exposed(ctx, t, db), time.Minute)
	code, said := r.ask("POST", "/test/clock?offset=10h")
	require.Equal(t, 200, code, said)
	shown, err := time.Parse("clock "+time.RFC3339Nano+"\n", said)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(10*time.Hour), shown, time.Minute)
	require.NoError(t, db.Counter("n").Add(ctx, 1))
	require.WithinDuration(t, time.Now().Add(10*time.Hour), exposed(ctx, t, db), time.Minute)

	code, said = r.ask("POST", "/test/disk?room=1000")
	require.Equal(t, 200, code, said)
	require.Error(t, db.Register("r").Set(ctx, make([]byte, 100<<10)))
	select {
	case err := <-r.ended:
		require.ErrorContains(t, err, "no space left on device")
		r.ended = nil
	case <-ctx.Done():
		t.Fatal("a node whose disk is full goes on")
	}
}

func TestOtherNodesCanNotBeMadeIll(t *testing.T) {
	r := startServer(t)
	for _, path := range []string{"/test/clock?offset=1s", "/test/disk?room=0"} {
		code, _ := r.ask("POST", path)
		require.Equal(t, 404, code)
	}
	_, ready := r.ask("GET", "/readyz")
	require.Equal(t, "ready\n", ready)
}
