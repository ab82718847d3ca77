//go:build mutants

package mutant

import "slices"

// Kind says what a mutant is a fault of.
type Kind string

// Kinds.
const (
	Protocol   Kind = "protocol"   // a decision: when something may be shown, answered, sent, taken or forgotten
	Arithmetic Kind = "arithmetic" // how a value is made from what is there
)

// Mutant is one deliberate fault.
type Mutant struct {
	Name   Name
	Kind   Kind
	Breaks string // what the fault does, in a sentence
	Site   string // the function that holds it
	// Checks are those of which one must notice, by their names in reports: a checker's, or
	// "invariant:..." of the simulation, or "panic" for an assertion of the database itself.
	Checks []string
	// Workload is under which load it is looked for; empty: the simulation's own choice for each seed.
	Workload string
	// Seeds is within how many seeds it must be found; 0: no load comes to what it breaks, and Checks are tests that
	// must fail, each as its package and its name, "storage.TestX".
	Seeds int
}

// All lists the mutants, in the order of the packages that hold them.
func All() []Mutant { return slices.Clone(table) }

// Find finds a mutant by its name.
func Find(n Name) (Mutant, bool) {
	i := slices.IndexFunc(table, func(m Mutant) bool { return m.Name == n })
	if i < 0 {
		return Mutant{}, false
	}
	return table[i], true
}

// The checks, as reports name them.
const (
	causal    = "causal"
	semantics = "semantics"
	lost      = "lost-writes"
	half      = "half-transactions"
	converge  = "convergence"
	session   = "session"
	swaps     = "compare-and-set"
	liveness  = "liveness"

	// Of the simulation's invariants.
	closed   = "invariant:closed"       // a record is exposed behind all that it depends on
	cuts     = "invariant:cuts"         // the horizon is below open snapshots
	newest   = "invariant:snapshots"    // a snapshot is opened at what is newest
	early    = "invariant:early"        // nothing is shown or sent that is not on disk
	answered = "invariant:answered"     // what was acknowledged as on disk is there
	settled  = "invariant:settled"      // what is settled is exposed everywhere
	once     = "invariant:exactly-once" // an operation id is written once
	log      = "invariant:log"          // logs hold what some region has never had
	depends  = "invariant:depends"      // a group depends on all that its transactions have seen
	told     = "invariant:told"         // what was shown and a crash took back is voided
	uniform  = "invariant:uniform"      // strong snapshots show what a majority has on disk

	// Of levels above causal.
	strict       = "strict-serializable"
	linearizable = "linearizable"
	skew         = "write-skew"
	phantoms     = "phantoms"
	bounded      = "bounded"
	quorum       = "quorum"
	durable      = "durable"

	panicked = "panic" // an assertion of the database itself
)

var table = []Mutant{
	{TimestampIgnoresSnapshot, Protocol, "A group's timestamp need not be above what its transactions have seen.",
		"clock.Hybrid.Peek", []string{converge, semantics, causal}, "", 10},
	{SeesOffByOne, Arithmetic, "A snapshot does not see the newest group that it names.",
		"clock.Vector.Sees", []string{semantics, lost, session, causal}, "", 10},

	{OverrideCoversConcurrent, Arithmetic, "A reset, removal or assignment covers what is older by timestamp, whether or not its transaction has seen it.",
		"crdt.coverAt", []string{semantics, lost}, "", 10},
	{LastWriterByWall, Arithmetic, "Of two assignments of one microsecond the one that comes first among the items wins.",
		"crdt.later", []string{converge, semantics, causal}, "register", 10},
	{DisableLosesToEnable, Arithmetic, "A set-rw's removal loses to a concurrent add.",
		"crdt.foldFlagDW", []string{semantics}, "set-rw", 10},

	{AddAppliedTwice, Arithmetic, "Of several adds of one group to one counter the last counts twice.",
		"storage.Batch.add", []string{semantics, lost}, "", 10},
	{HalfGroupVisible, Protocol, "Only the first effect of each transaction becomes visible with its group, the rest with the next one.",
		"storage.Batch.applyTxns", []string{half, semantics, causal}, "", 10},
	{CacheKeepsValue, Arithmetic, "The cache of leaves goes on serving a value that a later group has changed.",
		"storage.cached.unchanged", []string{semantics, session, causal}, "", 10},
	{LogSkipsFirst, Protocol, "Who asks for a lane's log from a record on is sent it without the record that follows.",
		"storage.Store.Log", []string{converge, liveness}, "", 10},
	{RemovalStopsShort, Arithmetic, "The removal of a large collection ends with the first batch of its leaves.",
		"storage.Batch.remove", []string{semantics, converge}, "map", 10},
	{VoteForgotten, Protocol, "A voter that starts again does not know whom it voted for.",
		"storage.Batch.SetHardState", []string{"storage.TestRaftStateOutlivesCrashesOnceDurable"}, "", 0},
	{OldEntriesStay, Protocol, "What a new leader's entries replace stays in the log behind them.",
		"storage.Batch.AppendRaft", []string{"storage.TestRaftLogIsKeptAndReplacedFromAnEntryOn"}, "", 0},

	{DependencyLeftOut, Protocol, "A record is applied before what it depends on.",
		"causal.Machine.dependencies, Ready", []string{closed, causal, semantics}, "", 10},
	{ExposedBeforeDurable, Protocol, "Readers see a group of their own region before it is on disk.",
		"causal.Machine.LocalApplied", []string{early, causal, semantics, lost}, "", 10},
	{HorizonAboveSnapshots, Protocol, "The horizon does not wait for open snapshots.",
		"causal.Machine.Horizon", []string{cuts, semantics}, "", 10},
	{StableWithoutReports, Protocol, "A cut is called stable although other regions may still send what has not seen it.",
		"causal.Machine.Advance", []string{settled, semantics, converge, lost}, "", 10},
	{SnapshotOneBehind, Protocol, "A read gets the snapshot before the newest.",
		"causal.Machine.Open", []string{newest, session, causal, semantics}, "", 10},
	{UniformWithoutMajority, Protocol, "Strong snapshots show what one region fewer than a majority has on disk.",
		"causal.Machine.majority", []string{uniform}, "mixed-strong", 10},
	{StrongBelowHorizon, Protocol, "A strong snapshot is opened although versions that it shows may be gone.",
		"causal.Machine.OpenStrong", []string{panicked, cuts, semantics}, "mixed-strong", 10},

	{TokenWaitsForOneRegion, Protocol, "Of a token only the first region's entry is waited for.",
		"replication.Exposure.wait", []string{session, causal, semantics}, "session", 10},
	{CutClaimsTooMuch, Protocol, "The cut that a newcomer is sent lacks some of what it says that it includes.",
		"replication.Replicator.sendCut", []string{converge, lost, semantics}, "", 10},
	{HearsayCountsAsFresh, Protocol, "What one region tells of another's freshness counts as of now, however old it is.",
		"replication.Replicator.heedFreshness", []string{bounded}, "bounded", 10},
	{QuorumOneShort, Protocol, "A read at level quorum asks one region fewer than a majority.",
		"replication.Replicator.askRound", []string{quorum}, "quorum", 10},

	{ReadsNotCertified, Protocol, "A strong transaction may commit although what it has read was written since.",
		"certify.State.transaction", []string{skew, strict}, "write-skew", 10},
	{PrefixesNotCertified, Protocol, "Of what a strong transaction has read, collections and listings are not certified.",
		"certify.index.newest", []string{phantoms, linearizable}, "phantom", 10},
	{CommitBelowSnapshot, Arithmetic, "A strong commit's time need not be above what its transaction has seen.",
		"certify.State.stamp", []string{converge, semantics, causal}, "mixed-strong", 10},
	{OperationDecidedAgain, Protocol, "The certifier does not know an operation that it has decided when it is tried again.",
		"certify.State.first", []string{once, semantics, strict}, "mixed-strong", 10},
	{ProposalDecidedAgain, Protocol, "A proposal that is in the log twice is decided twice.",
		"certify.State.decide", []string{"txn/strong/certify.TestCommandsAreDecidedOnce"}, "", 0},
	{DenialNotKept, Protocol, "An operation may be applied after somebody was told that it never will be.",
		"certify.State.deny", []string{semantics, strict, linearizable}, "strong-register", 10},
	{LowMarkStays, Protocol, "A transaction that is older than what the certifier remembers is certified.",
		"certify.index.dropOldest", []string{"txn/strong/certify.TestCheckJudgesReads"}, "", 0},

	{RaftAnswersBeforeSync, Protocol, "A voter says that it holds entries, and whom it votes for, before that is on its disk.",
		"strong.Group.append", []string{"txn/strong.TestSingleVoterReadsNothingOlderThanWhatItAcknowledged"}, "", 0},
	{ReadIndexNotAwaited, Protocol, "A strong read does not wait until this node has applied what the read index names.",
		"strong.Group.releaseReaders", []string{"txn/strong.TestReadersAreBoundedAndWait"}, "", 0},
	{PositionNotAsked, Protocol, "A strong read shows what is certified here, and asks nobody whether that is all.",
		"strong.Certifier.Position", []string{linearizable, strict}, "strong-register", 10},
	{CommitDependsOnNothing, Protocol, "The record of a strong commit names nothing that its transaction has seen.",
		"strong.Certifier.add", []string{depends, causal, semantics}, "mixed-strong", 10},
	{SnapshotLacksRecords, Protocol, "A snapshot of raft's log lacks the commits that are in no other log yet.",
		"strong.Certifier.Snapshot", []string{"txn/strong.TestACertifierIsRestoredFromItsSnapshot"}, "", 0},
	{VoterOutlivesStore, Protocol, "A region whose disk was lost goes on as the voter that it was, which has forgotten its votes.",
		"strong.VoterID", []string{"txn/strong.TestWhoFoundsTheGroupAnew"}, "", 0},
	{RefoundedWithoutAll, Protocol, "A raft group is founded anew although some region has not said how it stands.",
		"strong.attendance", []string{"txn/strong.TestWhoFoundsTheGroupAnew"}, "", 0},

	{AnsweredBeforeSync, Protocol, "A write is answered before it is on disk.",
		"txn.group.show", []string{answered, lost, semantics}, "", 10},
	{SentBeforeSync, Protocol, "A record leaves for other regions before it is on disk.",
		"txn.group.show", []string{early, converge, lost, semantics}, "", 10},
	{VoidLeftOut, Protocol, "After a crash a session is not told that a write of durability applied is lost.",
		"txn.Committer.Start", []string{told, session, causal, semantics}, "", 10},
	{GroupDependsOnFirst, Protocol, "A group depends on what its first transaction has seen, not on what all have.",
		"txn.group.join", []string{depends, causal, semantics}, "mixed", 10},
	{OwnWritesNotRead, Arithmetic, "An interactive transaction does not see its own writes.",
		"txn.view.overlay", []string{semantics, causal}, "", 10},
	{CommitNotInToken, Protocol, "The token of a write's answer does not name the write.",
		"txn.Coordinator.write", []string{session, causal, semantics}, "session", 10},
	{TokenNotWaitedFor, Protocol, "A session's token is taken and not waited for.",
		"txn.Coordinator.await", []string{session, causal, semantics}, "session", 10},
	{RetryWrittenAgain, Protocol, "A retry is written without asking whether its first try was.",
		"txn.Committer.admit", []string{once, lost, semantics}, "", 10},
	{ComparedWithinGroup, Protocol, "Two compare-and-sets of one register may be of one group, and both succeed.",
		"txn.commit.conflicts", []string{swaps, semantics}, "register", 10},
	{ReadsNewestInTransaction, Protocol, "An interactive transaction reads what is newest, not its snapshot.",
		"txn.Coordinator.Execute", []string{half, semantics, causal}, "mixed", 10},
	{DurableInOneFewer, Protocol, "A write for the disks of several regions is acknowledged on one fewer.",
		"txn.Coordinator.awaitRegions", []string{answered, durable}, "durability", 10},
	{RulesNotAsked, Protocol, "One-shot transactions don't keep to the rules of buckets.",
		"txn.Coordinator.settle", []string{"txn.TestBucketsDecideWhatOneShotsLeaveOpen"}, "", 0},

	{ForgetsBelowHorizon, Protocol, "Dots are forgotten below the horizon, not below what is settled.",
		"node.run.moveCuts", []string{semantics, converge, lost}, "", 10},
	{LogDroppedEarly, Protocol, "Old records are dropped from the log although a region lacks them.",
		"node.run.TruncateLog", []string{log, converge, lost}, "", 10},

	{SessionForgets, Protocol, "A session's token does not grow.",
		"client.Session.saw", []string{session, causal, semantics}, "session", 10},
}
