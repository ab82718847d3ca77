//go:build !race

package storage

// removedElements is the size of the set that TestRemovingAMillionElementsStallsNobody removes.
const removedElements = 1_000_000
