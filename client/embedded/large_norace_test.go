//go:build !race

package embedded

// largeSet is how many elements TestRemovingALargeSetStallsNobody removes.
const largeSet = 100_000
