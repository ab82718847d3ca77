//go:build race

package storage

// removedElements is smaller under the race detector, which takes ten times as long.
const removedElements = 50_000
