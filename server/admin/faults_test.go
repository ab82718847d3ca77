package admin

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeFaults notes what it was asked for.
type fakeFaults struct {
	offset time.Duration
	room   int64
}

func (f *fakeFaults) SetClock(offset time.Duration) { f.offset = offset }
func (f *fakeFaults) SetRoom(bytes int64)           { f.room = bytes }
func (f *fakeFaults) Clock() time.Time              { return time.Unix(3600, 7).Add(f.offset) }

func TestFaultsAreSetOnDemand(t *testing.T) {
	n, f, log := &fakeNode{}, &fakeFaults{}, &journal{}
	h := New(Config{Health: n, Status: n, Metrics: NewRegistry(), Faults: f, Logf: log.logf}).Handler()
	w := post(h, "/test/clock?offset=-1m30s")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "clock 1970-01-01T00:58:30.000000007Z\n", w.Body.String())
	require.Equal(t, -90*time.Second, f.offset)
	require.Contains(t, log.lines[0], "-1m30s ahead")
	require.Equal(t, 200, post(h, "/test/disk?room=4096").Code)
	require.Equal(t, int64(4096), f.room)
	require.Equal(t, 200, post(h, "/test/disk?room=-1").Code)
	require.Equal(t, int64(-1), f.room)
	require.Len(t, log.lines, 3)
}

func TestBadFaultsAreRefused(t *testing.T) {
	n, f := &fakeNode{}, &fakeFaults{}
	h := New(Config{Health: n, Status: n, Metrics: NewRegistry(), Faults: f}).Handler()
	for _, path := range []string{"/test/clock", "/test/clock?offset=soon", "/test/clock?offset=25h", "/test/disk", "/test/disk?room=-2", "/test/disk?room=1e3"} {
		w := post(h, path)
		require.Equal(t, 400, w.Code, path)
		require.Contains(t, w.Body.String(), "want a ", path)
	}
	require.Equal(t, 403, post(h, "/test/clock?offset=1s", "Sec-Fetch-Site", "cross-site").Code)
	require.Equal(t, 405, get(t, h, "/test/clock?offset=1s").Code)
	require.Zero(t, *f)
}

// A node that was not started for tests can't be made ill.
func TestAPortWithoutFaultsHasNoSuchCall(t *testing.T) {
	h := newServer(&fakeNode{}).Handler()
	require.Equal(t, 404, post(h, "/test/clock?offset=1s").Code)
	require.Equal(t, 404, post(h, "/test/disk?room=0").Code)
}
