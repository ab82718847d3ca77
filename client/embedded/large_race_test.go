//go:build race

package embedded

// largeSet is smaller under the race detector, which takes ten times as long.
const largeSet = 20_000
