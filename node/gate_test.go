package node

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// What is inside may take its time, which passes while the gate is being shut; nobody else gets in.
func TestAGateIsShutWhenTheLastHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		begun := time.Now()
		for i := range 3 {
			require.True(t, g.enter())
			go func() {
				time.Sleep(time.Duration(i) * time.Second)
				g.leave()
			}()
		}
		done := make(chan time.Duration)
		for range 2 {
			go func() {
				g.shut()
				done <- time.Since(begun)
			}()
			synctest.Wait()
			require.False(t, g.enter())
			require.Equal(t, 2*time.Second, <-done)
			require.False(t, g.enter(), "those who are turned away leave no trace")
			g.open()
		}
		require.True(t, g.enter())
		g.leave()
		require.Zero(t, g.inside.Load())
	})
}

// Callers on all processors never meet what a gate keeps apart.
func TestAGateKeepsApart(t *testing.T) {
	g := newGate()
	var run sync.WaitGroup
	var stop atomic.Bool
	var passed, turnedAway atomic.Int64
	shared := 0 // changed while the gate is shut: the race detector looks on
	for range 4 {
		run.Go(func() {
			for !stop.Load() {
				if !g.enter() {
					turnedAway.Add(1)
					continue
				}
				if shared%2 != 0 {
					t.Error("inside while it was shut")
				}
				passed.Add(1)
				g.leave()
			}
		})
	}
	for n := int64(0); n < 1000 || passed.Load() < 1000 || turnedAway.Load() < 100; n++ {
		g.shut()
		shared++
		shared++
		g.open()
	}
	stop.Store(true)
	run.Wait()
}
