package embedded

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
)

// soon is a context that ends after a while.
func soon(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// addStrong adds to a register of a decimal by a strong transaction that reads it.
func addStrong(ctx context.Context, db *client.DB, key string, n int) error {
	return db.Update(ctx, func(tx *client.Tx) error {
		v, err := tx.Register(key).Get(ctx)
		if err != nil {
			return err
		}
		was, _ := strconv.Atoi(string(v))
		return tx.Register(key).Set(ctx, []byte(strconv.Itoa(was+n)))
	}, client.Strong())
}

func TestStrongTransactionsOfAllRegionsAreOneAfterTheOther(t *testing.T) {
	c := cluster(t, ClusterOptions{})
	ctx := soon(t, patience)
	var all sync.WaitGroup
	for _, r := range c.Regions() {
		all.Go(func() {
			for range 20 {
				if err := addStrong(ctx, c.DB(r), "n", 1); err != nil {
					t.Errorf("%s: %v", r, err)
				}
			}
		})
	}
	all.Wait()
	for _, r := range c.Regions() {
		v, err := c.DB(r).Register("n").Get(ctx, client.Strong())
		require.NoError(t, err)
		require.Equal(t, "60", string(v), r)
	}
}
