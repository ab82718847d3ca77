//go:build !race

package embedded

// largeSet is how many elements TestRemovingALargeSetStallsNobody removes.
const largeSet = 1_000_000
