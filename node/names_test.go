package node

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
)

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestAFolderKeepsItsNameUnlessAnotherIsGiven: the log, the answers and what others are told use it.
func TestAFolderKeepsItsNameUnlessAnotherIsGiven(t *testing.T) {
	fs, log := vfs.NewMem(), &lines{}
	n, err := Start(t.Context(), config(fs, "ap"))
	require.NoError(t, err)
	require.NoError(t, n.Close(t.Context()))
	c := config(fs, "local")
	c.AnyRegion, c.Log = true, log
	n, err = Start(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, "ap", n.Region())
	s, err := n.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, "ap", s.Region)
	n.Logf("hello")
	require.Contains(t, log.String(), "Z ap: hello\n")
	require.NoError(t, n.Close(t.Context()))
	c = config(vfs.NewMem(), "local")
	c.AnyRegion = true
	n, err = Start(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, "local", n.Region(), "a new one has the default")
	require.NoError(t, n.Close(t.Context()))
}

// A name said to be gone that no region has is told, and nothing else.
func TestANameThatIsGoneAndUnknownIsTold(t *testing.T) {
	c, log := config(vfs.NewMem(), "eu"), &lines{}
	c.Log, c.Gone = log, []string{"nosuch", "eu"}
	n, err := Start(t.Context(), c)
	require.NoError(t, err)
	require.Contains(t, log.String(), `"nosuch" is named as gone, and no region has that name (they are eu)`)
	require.Contains(t, log.String(), `"eu" is named as gone, and is this region`)
	require.NoError(t, n.Close(t.Context()))
}

// Whatever is logged is one line of bounded length, with the time and the region before it.
func TestLogLinesAreLines(t *testing.T) {
	c, log := config(vfs.NewMem(), "eu"), &lines{}
	c.Log = log
	n, err := Start(t.Context(), c)
	require.NoError(t, err)
	defer n.Kill()
	n.Logf("%v", errors.New("a\n2026-01-01T00:00:00.000Z eu: forged\x1b[2J"+strings.Repeat("x", 3<<20)))
	n.current.Load().faulty(0, kv.Errorf(kv.KindInvalid, "of no region"))
	var got []string
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "forged") || strings.Contains(line, "of no region") {
			got = append(got, strings.TrimSuffix(line, "\n"))
		}
	}
	require.Len(t, got, 2)
	require.Less(t, len(got[0]), 2*maxLine)
	require.NotContains(t, got[0], "\x1b")
	require.Regexp(t, `^2[-0-9T:.]+Z eu: a.2026`, got[0])
	require.Regexp(t, `^2[-0-9T:.]+Z eu: of no region$`, got[1])
	require.Equal(t, []string{"of no region"}, n.Warnings())
}
