package replication

import "time"

// Limits of replication. docs/reference/limits.md lists them.
const (
	// MaxMembers bounds the regions of a cluster at a time, those that join or are being removed included.
	MaxMembers = 256
	// MaxNumbers bounds the regions that a cluster ever has, those that were removed or abandoned included: their
	// numbers are not given again.
	MaxNumbers = 1023
	// MaxRecord bounds an encoded log record, in bytes; also what the records of one message take
	// when they are unpacked. It is well above what txn lets into one group.
	MaxRecord = 64 << 20
	// MaxPart is how much of packed records goes into one message, in bytes; the rest follows in
	// further ones. Transports must carry messages of it plus 64 KiB.
	MaxPart = 1 << 20
	// BatchBytes is how much of a lane's log goes into one message, in bytes, where there is as
	// much, and at most into one batch for the store. Larger batches compress better and cost the
	// other lanes of the stream more waiting.
	BatchBytes = 128 << 10
	// LaneWindow is how many bytes of a lane's records a subscriber lets come before they are
	// applied. It bounds what waits for a dependency. Bandwidth times delay: 27 MB/s at 150 ms.
	LaneWindow = 4 << 20
	// TailBytes is how much of a lane's newest records a sender keeps in memory, in bytes, so that
	// a subscriber that keeps up costs no read of the log.
	TailBytes = 8 << 20
	// RangeBytes is how much of a shard goes into one message of a bootstrap, in bytes.
	RangeBytes = 512 << 10

	// HeartbeatEvery is how often a stream says that it is alive; with it go promises and reports.
	HeartbeatEvery = 100 * time.Millisecond
	// SilenceAfter is how long a region is silent before its lanes are asked of others.
	SilenceAfter = 2 * time.Second
	// StreamTimeout is how long a stream is silent before it is closed and dialled anew.
	StreamTimeout = 5 * time.Second
	// HandshakeTimeout bounds dialling and the exchange of hellos.
	HandshakeTimeout = 5 * time.Second
	// DecisionTimeout bounds each attempt to have it decided that a region joins, serves or is given up. Who asks
	// for a number waits for it on a connection, so it is less than HandshakeTimeout.
	DecisionTimeout = 4 * time.Second
	// GreetTimeout bounds each time that a node with data asks those that it is told to join whose they are.
	GreetTimeout = 2 * time.Second
	// Patience is how long a record waits for a dependency before that is asked of its sender.
	Patience = 150 * time.Millisecond
	// RedialMin and RedialMax bound the wait between two attempts to reach a peer, before jitter of
	// half to all of it.
	RedialMin = 50 * time.Millisecond
	RedialMax = 2 * time.Second
	// AnnounceEvery is how often a node looks whether a region that dials it has a stream to it, give or
	// take half; while there is none it tells it its address, as often as it would dial.
	AnnounceEvery = 3 * time.Second
	// BootstrapTimeout is how long a bootstrap may stand still before its connection is closed.
	BootstrapTimeout = time.Minute
	// HoldLimit is how long a cut is held for a newcomer that is not heard of.
	HoldLimit = 10 * time.Minute
	// JoinLimit is how long a region that joins is not heard of, by any region, before it is
	// abandoned, so that others can join and stability moves on.
	JoinLimit = time.Hour
	// BehindAfter is how long nobody in reach has had what a node lacks in its log before the node takes
	// a cut in place of its data: who has may be about to connect.
	BehindAfter = 2 * time.Second
	// ShipPatience is how long such a node then waits until every region in reach has what it wrote,
	// and not only the one that it takes the cut from.
	ShipPatience = 10 * time.Second
	// MessageGap is how long a stream collects records between two messages that carry less than
	// GapBytes of them. It halves what small groups cost in bytes and in time of both ends.
	MessageGap = time.Millisecond
	GapBytes   = 16 << 10
	// AskGap is how long questions to other regions are collected: one in that time asks for all calls that
	// wait for a majority, and one for all writes that wait for other regions' disks. A call that comes
	// alone does not wait for it.
	AskGap = 2 * time.Millisecond
	// MaxRounds is how many questions to all regions what they have may be under way: as many as are
	// asked in 128 ms at AskGap. On a longer way they are asked less often.
	MaxRounds = 64
	// MaxAsks is how many questions of one region may wait on a stream until their vector is on disk.
	MaxAsks = 64
	// ReadIndexTimeout bounds asking the raft group how far it is, for level bounded.
	ReadIndexTimeout = 2 * time.Second
	// StalenessWindow is how far back the 99th percentile of staleness looks.
	StalenessWindow = time.Minute
	// OverloadedPause is how long a lane waits whose record the store has no room for at the moment.
	OverloadedPause = 100 * time.Millisecond

	// RefusedMax bounds the wait before a record that the store has refused is offered to it again,
	// before jitter of half to all of it; it begins at RedialMin and doubles.
	RefusedMax = 30 * time.Second
	// TellEvery bounds how often a fault that persists is logged.
	TellEvery = 30 * time.Second
	// ForkTold is how long a node whose lane is forked waits until its peers have heard so, before it ends.
	ForkTold = time.Second
	// LaneRetry is how long a lane that a peer refused to serve is not asked of it again.
	LaneRetry = 2 * time.Second
)

// Versions of the protocol that this node speaks.
const (
	ProtocolMin = 3
	ProtocolMax = 3
)
