package replication

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestATurnIsOneAtATimeAndLetsTimePass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var one turn
		var have, most int
		done := make(chan struct{})
		for range 5 {
			go func() {
				one.Lock()
				have++
				most = max(most, have)
				time.Sleep(time.Second) // a mutex would keep it from passing
				have--
				one.Unlock()
				done <- struct{}{}
			}()
		}
		for range 5 {
			<-done
		}
		require.Equal(t, 1, most)
		require.Panics(t, one.Unlock)
	})
}
