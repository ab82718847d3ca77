// Package torture kills nodes and cuts their power, over and over, and verifies after each time that
// nothing that was promised is gone: kill -9 of a real `theriac serve` on a real disk, and power cuts of
// regions in memory that lose what was not synced.
//
// Writers put a load on one region or several and enter every transaction in a Book before they send it,
// and what they were told of it after. When the node is back, a Survey reads all that is there and asks
// for the outcome of whatever was left open. The book then judges:
//
//   - a write that was acknowledged at durability local is there, once: counters have the exact sum, other
//     places the last value that was written to them;
//   - a transaction is there whole or not at all, also one of unknown outcome;
//   - the fate that the data shows is the one that DB.Outcome tells, and neither changes ever after;
//   - what was refused is not there, and nothing is that nobody wrote;
//   - a session's token is honoured with all that the session was told of, or refused as lost, and that
//     only if something of it is lost;
//   - the node serves again, by itself, without a word of damage.
//
// It does not look for anomalies between regions that are up: the checkers of package jepsen/checker do.
//
// # Moments
//
// A kill or a cut comes at a moment that is drawn relative to something: an Aim. Kills wait for what the
// node's process and folder show: the process begins, opens its store, is ready, starts a log file or a
// table, deletes a file, truncates its log, carries out a removal, stops. Cuts are counted in operations
// on the file system, of all kinds or of one, and may come while what a cut left is being opened.
//
// # Invariants
//
//  1. The book knows nothing of the database: it compares texts and sums. It settles every entry exactly
//     once, in the order in which they were begun.
//  2. A place is written by one writer at a time, who begins a transaction on it only once the outcome
//     of the one before is known or can't change any more. So the last one that is applied decides.
//  3. Only processes that this package started are killed, and they end with it.
//  4. A run in which an aim was never hit fails.
//
// # Replay
//
// A seed fixes what is drawn: the load, the aims, and how much of what was not synced survives. When
// goroutines and processes run it does not fix, so a replay meets the same load and the same kind of
// moment, not the same microsecond. What decides is therefore kept: a failing cycle leaves its folder, its
// log and its book behind.
package torture
