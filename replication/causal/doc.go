// Package causal decides what a node may show its readers, and what it may forget: the exposed
// vector, stability and the horizon of one node, as a deterministic state machine. Events go in
// (a record was applied, is on disk, a peer reported), decisions come out.
//
// It is pure: it reads no clock, starts no goroutine, takes no lock and does no I/O. It is not safe
// for concurrent use; replication.Exposure is the shell that locks it and lets callers wait. It does
// not hold records, does not know what is in them, and does not know void intervals: a void record
// is a step of its lane like any other.
//
// # Words
//
// A lane's records form a chain: each names the one before it. E, the exposed vector, holds for each
// region the timestamp of the last record that readers may see. So E is "lowered to transactions":
// snapshots, dependencies and tokens are such vectors. The raw vector also knows safe times ("this
// lane will commit nothing more at or below it"): raw[o] >= E[o], and both see the same groups.
// Safe times serve waits and the measure of staleness, nothing else; a heartbeat that only one
// region heard holds nobody back.
//
// Lane 0 is the certifier's: strong transactions, wherever they came from. It is a member like a region's,
// but nobody reports for it, and its numbers are no clock's.
//
//	own lane      taken = exposed = durable <= last     a local group is exposed once it is on disk
//	other lanes   durable <= last = exposed <= taken    a remote group is exposed once it is applied
//
// # What is open, and what follows from it
//
//	                     E at the start ............................ E now
//	cuts with readers          o-----------o------------------o        |
//	cuts with writers                      o------------------o        |
//	horizon = oldest open cut, met with holds     (or E, when nothing is open)
//	floor   = oldest cut that may still write, met with the snapshots of groups not yet on disk
//	          and with what is exposed and on disk
//
// Both are also met with the oldest strong snapshot that is open, and with the strong cut, where further
// ones are opened, but with that only for a grace: uniform.go has the rules and why they are sound.
//
// Every region reports its floor. A group that a region had not on disk when it reported has seen
// all of that floor: its snapshot was open then, or was opened later, at an E that includes it. So
// once this node has exposed all that the author had on disk (Report.Safe), whatever else comes from
// it has seen the floor. The meet of all such floors is stable: nothing concurrent with a group
// below it will still arrive here.
//
// A report names its author's store. What a store had on its disk counts, for truncation and for what is
// held for the region, until another store of the region is known (Incarnated). The floor of a report
// that was counted stays counted: before the region writes with its new store it takes back all that
// others remember of its reports (Remembered), so what it writes has seen that floor.
//
// A stable vector is noted together with what was exposed here then. Once the horizon includes the
// latter, all that lies above the horizon arrived later, so it has seen the former, which is then
// settled.
//
// # Invariants
//
//  1. E never falls. It changes at group boundaries only, and is causally closed: a record is applied
//     only when its dependencies are in E for every other region.
//  2. A lane's records are applied in the order of their chain, without gap or repetition.
//  3. The raw vector and E see the same groups.
//  4. What is reported (Durable, Floor, Safe, Promise) never passes what is on disk here.
//  5. The horizon never falls, E includes it, and so does every open snapshot and every hold.
//  6. The floor never falls (but is empty while recovering), and every own group that is not yet on
//     disk, or not yet written, has seen all of it.
//  7. Stable never falls; settled never falls; settled <= stable <= E and settled <= horizon.
//  8. The strong cut never falls, is causally closed, and lies within E and what is uniform. A strong
//     snapshot includes the horizon, the floor if it writes, and the E with which the process began.
//
// # Sources
//
// Stability by what others have seen: Baquero, Almeida, Shoker, Pure Operation-Based Replicated Data
// Types (arXiv 1710.04469), section 4. We differ: a region reports the floor of what it may still
// write instead of a matrix of clocks being kept everywhere, and dots are forgotten below settled,
// not below stable, since readers at older snapshots still need them.
package causal
