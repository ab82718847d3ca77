package workload

import "fmt"

// share is one n-th of what was asked for, and at least 1.
func share(asked, n int) int { return max(asked/n, 1) }

// rotation is how many transactions a worker makes before its keys are replaced by new ones: what
// one key is used for stays bounded, however long a run is.
const rotation = 100

// key draws one of n keys of the present rotation.
func (w *worker) key(prefix string, n int) string {
	return fmt.Sprintf("%s/%d/%d", prefix, w.made/rotation, w.random.IntN(n))
}

// vary draws how a transaction is made: most are of the worker's session, in one round trip, at level
// causal and with durability local.
func (w *worker) vary(p plan) plan {
	p.interactive = w.chance(5)
	p.alone = w.chance(5)
	p.eventual = w.chance(8)
	p.applied = w.chance(8)
	return p
}
