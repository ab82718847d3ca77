package replication

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
)

// slowMeta writes when it is told to.
type slowMeta struct{ writing, written chan struct{} }

func (m slowMeta) Meta(string) ([]byte, error) { return nil, nil }

func (m slowMeta) SetMeta(context.Context, string, []byte) error {
	m.writing <- struct{}{}
	<-m.written
	return nil
}

// TestMembersAreReadWhileTheyAreWritten: the planner reads the list with the Replicator's lock held,
// for which the store's writer waits, for which a change of the list waits.
func TestMembersAreReadWhileTheyAreWritten(t *testing.T) {
	m := slowMeta{make(chan struct{}), make(chan struct{})}
	g, err := loadRegistry(m)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := g.add(context.Background(), "eu", kv.Addresses{})
		done <- err
	}()
	<-m.writing
	version, list := g.snapshot()
	require.Zero(t, version)
	require.Empty(t, list)
	close(m.written)
	require.NoError(t, <-done)
	version, list = g.snapshot()
	require.Equal(t, uint64(1), version)
	require.Len(t, list, 1)
}
