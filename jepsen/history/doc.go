// Package history holds the nouns of a recorded run: transactions with what they asked, wrote and
// read, the faults of the time, and the file format that carries them from the run to the checkers.
//
// It knows nothing of the database: a history is what a client could see. The package imports
// nothing of theriac's, so that what judges a history shares no code with what made it.
//
// # Time
//
// All times of a history are nanoseconds of one clock that never steps back, from the run's start.
// They are of the machine that recorded, never of the database. A recorder never reads the same time twice, so
// that its history tells what came first; to checkers equal times leave that open.
//
// # Format
//
// JSON Lines, UTF-8, one object a line, each line ended by a line feed and at most [MaxLine] bytes
// long. The first line is the header; every other line holds one transaction or one fault, in any
// order, though a recorder writes them as they end:
//
//	{"history":2,"workload":"bank","regions":["eu","us","ap"],"seed":7}
//	{"txn":{"id":1,"process":3,"region":"eu","level":"causal","start":10,"end":20,"outcome":"ok","ops":[...]}}
//	{"fault":{"kind":"partition","targets":["eu"],"start":15,"end":40,"effects":{"bytes held":812}}}
//
// docs/formats/history.md describes each field.
//
// # Invariants of a history that Read returns
//
//  1. Transactions have the ids 1 to n, each once, and stand in the order of their ids.
//  2. A process has one transaction at a time; after one of unknown outcome it has no other: whoever
//     goes on does so as another process.
//  3. The transactions of a session, in the order of their starts, do not overlap either.
//  4. A transaction of outcome ok has ended, and each of its reads has an answer.
package history
