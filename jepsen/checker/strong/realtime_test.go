package strong

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestSweepLinksExactlyWhatIsBefore: what is reachable over the links is what ended before the other
// began, and no link follows from two others.
func TestSweepLinksExactlyWhatIsBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spans := make([]span, rapid.IntRange(0, 12).Draw(t, "spans"))
		for i := range spans {
			spans[i].start = rapid.Int64Range(0, 30).Draw(t, "start")
			spans[i].end = spans[i].start + rapid.Int64Range(0, 10).Draw(t, "length")
		}
		linked := map[[2]int]bool{}
		sweep(spans, func(a, b int) { linked[[2]int{a, b}] = true })
		for a := range spans {
			for b := range spans {
				before := spans[a].end < spans[b].start
				between := false
				for c := range spans {
					between = between || spans[a].end < spans[c].start && spans[c].end < spans[b].start
				}
				require.Equal(t, before && !between, linked[[2]int{a, b}], "%v %v", spans[a], spans[b])
			}
		}
	})
}
