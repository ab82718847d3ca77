package mutant

// Name names a mutant. The table says what each breaks.
type Name string

// The names, by the package that holds the fault.
const (
	// clock.
	TimestampIgnoresSnapshot Name = "timestamp-ignores-snapshot"
	SeesOffByOne             Name = "sees-off-by-one"

	// crdt.
	OverrideCoversConcurrent Name = "override-covers-concurrent"
	LastWriterByWall         Name = "last-writer-by-wall"
	DisableLosesToEnable     Name = "disable-loses-to-enable"

	// storage.
	AddAppliedTwice   Name = "add-applied-twice"
	HalfGroupVisible  Name = "half-group-visible"
	CacheKeepsValue   Name = "cache-keeps-value"
	LogSkipsFirst     Name = "log-skips-first"
	RemovalStopsShort Name = "removal-stops-short"
	VoteForgotten     Name = "vote-forgotten"
	OldEntriesStay    Name = "old-entries-stay"

	// replication/causal.
	DependencyLeftOut      Name = "dependency-left-out"
	ExposedBeforeDurable   Name = "exposed-before-durable"
	HorizonAboveSnapshots  Name = "horizon-above-snapshots"
	StableWithoutReports   Name = "stable-without-reports"
	SnapshotOneBehind      Name = "snapshot-one-behind"
	UniformWithoutMajority Name = "uniform-without-majority"
	StrongBelowHorizon     Name = "strong-below-horizon"

	// replication.
	TokenWaitsForOneRegion Name = "token-waits-for-one-region"
	CutClaimsTooMuch       Name = "cut-claims-too-much"
	HearsayCountsAsFresh   Name = "hearsay-counts-as-fresh"
	QuorumOneShort         Name = "quorum-one-short"

	// txn/strong/certify.
	ReadsNotCertified     Name = "reads-not-certified"
	PrefixesNotCertified  Name = "prefixes-not-certified"
	CommitBelowSnapshot   Name = "commit-below-snapshot"
	OperationDecidedAgain Name = "operation-decided-again"
	ProposalDecidedAgain  Name = "proposal-decided-again"
	DenialNotKept         Name = "denial-not-kept"
	LowMarkStays          Name = "low-mark-stays"

	// txn/strong.
	RaftAnswersBeforeSync  Name = "raft-answers-before-sync"
	ReadIndexNotAwaited    Name = "read-index-not-awaited"
	PositionNotAsked       Name = "position-not-asked"
	CommitDependsOnNothing Name = "commit-depends-on-nothing"
	SnapshotLacksRecords   Name = "snapshot-lacks-records"
	VoterOutlivesStore     Name = "voter-outlives-store"
	RefoundedWithoutAll    Name = "refounded-without-all"

	// txn.
	AnsweredBeforeSync       Name = "answered-before-sync"
	SentBeforeSync           Name = "sent-before-sync"
	VoidLeftOut              Name = "void-left-out"
	GroupDependsOnFirst      Name = "group-depends-on-first"
	OwnWritesNotRead         Name = "own-writes-not-read"
	CommitNotInToken         Name = "commit-not-in-token"
	TokenNotWaitedFor        Name = "token-not-waited-for"
	RetryWrittenAgain        Name = "retry-written-again"
	ComparedWithinGroup      Name = "compared-within-group"
	ReadsNewestInTransaction Name = "reads-newest-in-transaction"
	DurableInOneFewer        Name = "durable-in-one-fewer"
	RulesNotAsked            Name = "rules-not-asked"

	// node.
	ForgetsBelowHorizon Name = "forgets-below-horizon"
	LogDroppedEarly     Name = "log-dropped-early"

	// client.
	SessionForgets Name = "session-forgets"
)
