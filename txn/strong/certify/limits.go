package certify

// Bounds of a log entry. Builder keeps to them, DecodeBatch refuses what does not.
const (
	// MaxBatch bounds the proposals in one log entry.
	MaxBatch = 4096
	// MaxBatchBytes bounds a log entry: a transaction of the largest size with a long list of accesses.
	MaxBatchBytes = 40 << 20
	// MaxBatchAccesses bounds the reads and writes of one log entry.
	MaxBatchAccesses = 1 << 17
	// MaxAccess bounds the bytes of an access that count; see Point.
	MaxAccess = 1 << 10
)

// Bounds of the state. Every replica must forget the same at the same entry: changing one of these
// changes what is decided, so it needs a new version of the entry.
const (
	// MaxIndexEntries bounds the places (points and prefixes) whose last commit is known.
	MaxIndexEntries = 1 << 18
	// MaxIndexBytes bounds the bytes of their keys.
	MaxIndexBytes = 32 << 20
	// MaxIDs bounds the operation ids that are known.
	MaxIDs = 1 << 19
	// MaxUnderWay bounds how far a proposal's number may be above what its proposer has seen answered.
	MaxUnderWay = 1 << 13
	// MaxProposers bounds the regions that propose.
	MaxProposers = 256
	// MaxCommands bounds the commands of one proposer that were decided and whose answers it may ask for again.
	MaxCommands = 64
	// MaxAnswer bounds the answer to a command.
	MaxAnswer = 1 << 10
	// MaxMetadata bounds the metadata's part of a snapshot.
	MaxMetadata = 32 << 20
)

// limits are the bounds of the state, which tests lower.
type limits struct {
	entries, bytes, ids, underWay, proposers int
}

var fullLimits = limits{MaxIndexEntries, MaxIndexBytes, MaxIDs, MaxUnderWay, MaxProposers}
