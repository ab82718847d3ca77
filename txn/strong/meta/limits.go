package meta

import "github.com/theriac-db/theriac/clock"

const (
	// MaxRegions bounds the regions that a cluster ever has, those that were removed or abandoned included:
	// vectors hold an entry for each, and one for region 0.
	MaxRegions = clock.MaxVectorEntries - 1
	// MaxMembers bounds the regions that join, serve or are fenced at a time.
	MaxMembers = 256
	// MaxName bounds a region's name, in bytes.
	MaxName = 64
	// MaxBuckets bounds the buckets that have rules or were dropped. Names of dropped ones count: their
	// generation is kept for good. All of them fit the message in which a region that joins gets them.
	MaxBuckets = 1 << 13
	// MaxMessage bounds the text of a refusal that is kept as the answer to a command; it is cut there.
	MaxMessage = 512
)
