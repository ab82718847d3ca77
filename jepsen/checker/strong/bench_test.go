package strong

import (
	"fmt"
	"testing"

	"github.com/theriac-db/theriac/jepsen/checker"
)

// BenchmarkTransactions checks histories of 10 processes and as many keys as a tenth of the
// transactions, 5% of unknown outcome.
func BenchmarkTransactions(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		h := makeHistory(1, atOnce, n, 10, n/10)
		for _, l := range []Level{Causal, SnapshotIsolation, Serializable, StrictSerializable} {
			b.Run(fmt.Sprintf("%s/txns=%d", l, n), func(b *testing.B) {
				b.ReportAllocs()
				for range b.N {
					requireValid(b, Transactions(l, ""), h)
				}
			})
		}
	}
}

// BenchmarkHotKeys checks histories of 50 processes that all work on 5 keys.
func BenchmarkHotKeys(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		h := makeHistory(1, atOnce, n, 50, 5)
		for _, l := range []Level{Causal, StrictSerializable} {
			b.Run(fmt.Sprintf("%s/txns=%d", l, n), func(b *testing.B) {
				for range b.N {
					requireValid(b, Transactions(l, ""), h)
				}
			})
		}
	}
}

// BenchmarkCausalOfReplicas checks histories in which old values are read all the time.
func BenchmarkCausalOfReplicas(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		h := makeHistory(1, replicas, n, 10, 100)
		b.Run(fmt.Sprintf("txns=%d", n), func(b *testing.B) {
			for range b.N {
				requireValid(b, Transactions(Causal, ""), h)
			}
		})
	}
}

// BenchmarkStrictOfReplicas checks histories that are full of anomalies.
func BenchmarkStrictOfReplicas(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		h := makeHistory(1, replicas, n, 10, 100)
		b.Run(fmt.Sprintf("txns=%d", n), func(b *testing.B) {
			for range b.N {
				Transactions(StrictSerializable, "").Check(h, checker.Options{})
			}
		})
	}
}

// BenchmarkLinearizable checks histories of as many keys as a hundredth of the transactions.
func BenchmarkLinearizable(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		h := makeHistory(1, atOnce, n, 10, n/100)
		b.Run(fmt.Sprintf("txns=%d", n), func(b *testing.B) {
			for range b.N {
				requireValid(b, Linearizable(""), h)
			}
		})
	}
}
