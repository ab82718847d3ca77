package node

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/txn"
)

// stopped is of transactions that need no store, at a clock that stands still.
var stopped = txn.Config{CommitterConfig: txn.CommitterConfig{Mono: func() time.Duration { return 0 }}}

// TestOneReasonToRefuseWritesDoesNotLiftAnother has reasons come and go in each other's time.
func TestOneReasonToRefuseWritesDoesNotLiftAnother(t *testing.T) {
	n := &run{Coordinator: txn.New(stopped)}
	n.config = Config{Log: io.Discard, Time: replication.SystemTime(), Fatal: func(error) {}}
	n.refuseWrites()
	require.ErrorIs(t, n.Refused(), kv.ErrReadOnly)
	n.clockAhead(true)
	n.refuseFor(notYetWhole, nil)
	require.ErrorContains(t, n.Refused(), "clock", "recovered, but still ahead")
	n.clockAhead(false)
	require.Nil(t, n.Refused())
	n.clockAhead(true)
	n.fatal(errors.New("the disk is full"))
	n.clockAhead(false)
	n.refuseFor(notYetWhole, nil)
	require.ErrorContains(t, n.Refused(), "the disk is full")
}

// TestFailureWhileTheNodeStartsIsNotLost: the store fails on its own goroutines.
func TestFailureWhileTheNodeStartsIsNotLost(t *testing.T) {
	told := make(chan error, 1)
	n := &run{config: Config{Log: io.Discard, Time: replication.SystemTime(), Fatal: func(err error) { told <- err }}}
	go n.fatal(errors.New("the disk is full"))
	n.coordinate(txn.New(stopped))
	n.refuseWrites()
	require.ErrorContains(t, <-told, "the disk is full")
	n.refuseFor(notYetWhole, nil)
	require.ErrorContains(t, n.Refused(), "the disk is full")

	early := &run{config: n.config}
	early.fatal(errors.New("the disk is gone"))
	early.coordinate(txn.New(stopped))
	require.ErrorContains(t, early.Refused(), "the disk is gone")
}
