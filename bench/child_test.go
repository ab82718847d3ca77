package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
)

// converse runs a region child over pipes, asks it all requests and returns the answers.
func converse(t *testing.T, requests ...request) []reply {
	t.Helper()
	in, ask := io.Pipe()
	answers, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		defer out.Close()
		done <- RunChild(t.Context(), []string{"region", `{"Name":"eu"}`}, in, out, openFake)
	}()
	lines := bufio.NewReader(answers)
	read := func(m any) {
		line, err := readLine(lines, childLine)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(line, m))
	}
	var hello ready
	read(&hello)
	require.Equal(t, clock.Region(1), hello.Region)
	replies := make([]reply, len(requests))
	for i, q := range requests {
		require.NoError(t, json.NewEncoder(ask).Encode(q))
		read(&replies[i])
	}
	require.NoError(t, ask.Close())
	require.NoError(t, <-done)
	return replies
}

func TestChildDoesWhatItsParentAsks(t *testing.T) {
	r := converse(t,
		request{Do: "fill", Keys: 10},
		request{Do: "add", Keys: 10, Goroutines: 4, Count: 320},
		request{Do: "add", Keys: 10, Goroutines: 4, Seconds: 0.1, Rate: 1000, Applied: true},
		request{Do: "watch", Region: 1, Seconds: 0.01},
		request{Do: "reach", Region: 1, Time: 1},
		request{Do: "written"},
		request{Do: "dance"},
	)
	for _, x := range r[:6] {
		require.Empty(t, x.Error)
	}
	require.Equal(t, int64(320), r[1].Done)
	require.Len(t, r[1].Commits, 20, "every sixteenth")
	last := r[1].Progress[len(r[1].Progress)-1]
	require.Equal(t, int64(320), last.Count)
	require.Equal(t, last.Time, r[1].lastCommit())
	require.LessOrEqual(t, r[2].Done, int64(110), "no faster than its rate")
	require.Len(t, r[3].Rises, 1)
	require.GreaterOrEqual(t, r[3].Rises[0].Time, last.Time)
	require.Equal(t, int64(7), r[5].Done)
	require.Contains(t, r[6].Error, `no such request "dance"`)
	require.Zero(t, (&reply{}).lastCommit())
}

func TestChildRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for want, args := range map[string][]string{
		"want echo BYTES":  {"dance"},
		"invalid syntax":   {"echo", "many"},
		"child region":     {"region", "{"},
		"broken":           {"region", `{"Name":"broken"}`},
		"child: invalid c": {"region", `{"Name":"eu"}`},
	} {
		err := RunChild(t.Context(), args, strings.NewReader("not JSON\n"), io.Discard, openFake)
		require.ErrorContains(t, err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := poll(ctx, func() (bool, error) { return false, nil })
	require.ErrorIs(t, err, context.Canceled)
}

func TestParentNoticesAChildThatFails(t *testing.T) {
	e, _ := tiny(t)
	_, err := startRegion(t.Context(), e, RegionConfig{Name: "broken"}, "")
	require.ErrorContains(t, err, "is not ready")
	p, err := startRegion(t.Context(), e, RegionConfig{Name: "eu"}, "")
	require.NoError(t, err)
	_, err = p.ask(request{Do: "dance"}, time.Minute)
	require.ErrorContains(t, err, "asked to dance")
	_, err = p.ask(request{Do: "reach", Region: 7, Time: 1}, time.Millisecond)
	require.ErrorContains(t, err, "answer of a child", "it was killed for its silence")
	require.NoError(t, p.kill())
	_, err = p.ask(request{Do: "fill"}, time.Minute)
	require.Error(t, err)
	require.NoError(t, p.quit(), "it has ended already")
}

func TestLongLinesAreRefused(t *testing.T) {
	long := strings.Repeat("x", 100)
	_, err := readLine(bufio.NewReaderSize(strings.NewReader(long), 16), 32)
	require.ErrorContains(t, err, "more than 32 bytes")
	_, err = readLine(bufio.NewReaderSize(strings.NewReader(long), 16), 1000)
	require.ErrorIs(t, err, io.EOF)
}
