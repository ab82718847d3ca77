package torture

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Tally counts what a run exercised. It is safe for concurrent use.
type Tally struct {
	mu    sync.Mutex
	count map[string]int
	began time.Time
}

// NewTally begins to count.
func NewTally() *Tally { return &Tally{count: map[string]int{}, began: time.Now()} }

// Add counts n more of something.
func (t *Tally) Add(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count[what] += n
}

// Get is the count of something.
func (t *Tally) Get(what string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count[what]
}

// Missing lists what was to happen and never did.
func (t *Tally) Missing(wanted []string) []string {
	var out []string
	for _, w := range wanted {
		if t.Get(w) == 0 {
			out = append(out, w)
		}
	}
	return out
}

// Table is all counts as a table in Markdown, in the order of their names.
func (t *Tally) Table() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	b.WriteString("| what | times |\n| --- | ---: |\n")
	for _, name := range slices.Sorted(maps.Keys(t.count)) {
		fmt.Fprintf(&b, "| %s | %d |\n", name, t.count[name])
	}
	return b.String()
}

// Rate is how many of something there were a second.
func (t *Tally) Rate(what string) float64 {
	return float64(t.Get(what)) / time.Since(t.began).Seconds()
}
