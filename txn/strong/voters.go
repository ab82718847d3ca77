package strong

import (
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
)

// storeBits is how many bits of a store's incarnation a voter's id has.
const storeBits = 48

// VoterID is the id of a region's voter with a store: 16 bits of the region's number, 48 of the incarnation,
// which is random: of two stores that a region ever has, one in 2^48 has the id of the other.
func VoterID(region clock.Region, incarnation uint64) uint64 {
	if incarnation != 0 && mutant.On(mutant.VoterOutlivesStore) {
		incarnation = 1
	}
	return uint64(region)<<storeBits | incarnation&(1<<storeBits-1)
}

// RegionOf is the region of a voter.
func RegionOf(id uint64) clock.Region { return clock.Region(id >> storeBits) }

// Seat is a region that belongs to the group.
type Seat struct {
	Region clock.Region
	Store  uint64 // the incarnation of the store that its node has; 0: not known
}

// CatchUp is how many entries a learner may lack when it is given its vote.
const CatchUp = 1000
