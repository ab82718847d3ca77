// Package sim runs a whole cluster, of 3 to 9 regions, in one process and on time of its own: the
// real node, from its constructor node.Start on, over a simulated network, simulated clocks, and
// Pebble on its file system in memory. A seed decides all of it: how many regions, how far apart,
// what load, which faults and when. Ten minutes pass in seconds.
//
// Beside the checkers of histories, which judge what the callers saw, it looks at the nodes
// themselves, at every step of what decides in them.
//
// It is not responsible for what a history must look like (jepsen/checker), for what callers do
// (jepsen/workload), or for plans of faults (jepsen/nemesis).
//
// # What is simulated
//
//   - Time: a bubble of testing/synctest, in which time passes only when nothing else can happen.
//     Each machine has a wall clock that is off, steps and drifts, and a monotonic clock and timers
//     that drift with it.
//   - The network (network.go): delay and jitter, cuts both ways or one, stalls, connections that break
//     and lose the tail of what was sent, dials that nobody answers. In some seeds also what TCP would
//     not let happen: messages of a running stream that come twice, or in another order, and raft's get lost.
//   - Disks (disk.go): a crash takes back what was not synced, and some of it not; syncs take time, or
//     fail; a disk may be gone.
//   - The way of callers (caller.go): requests and answers get lost, and requests arrive after their
//     caller has given up, strong ones also a second time.
//   - Crashes are one moment for callers, peers and the disk. Some wait for the moment at which a group was
//     shown that is not on disk yet.
//
// # What must hold at every step
//
// A core stands before the machine that decides in each node (replication.Core) and sees every call:
//
//   - exposed vectors are closed: a record is exposed behind the one before it in its lane and with
//     all that it depends on;
//   - they never fall while a node runs, and what was on a disk is there when the node starts again;
//   - settled <= horizon <= exposed, and the horizon is below every snapshot that is open;
//   - what is settled in one region is exposed in all others;
//   - what a region showed and a crash took back, the next record of its lane voids;
//   - what is acknowledged as on the disks of several regions is on them.
//
// And of strong transactions (certified.go):
//
//   - all nodes derive the same record of the certifier's lane at each of its times;
//   - what was derived by one, or acknowledged, all have in the end, and nothing beside it;
//   - each term of raft's has one leader;
//   - strong snapshots show what a majority of the regions has on its disk.
//
// The raft group may lose what it has decided with the disks of a majority of its voters. Where callers make strong
// transactions no such majority is taken away.
//
// Beside that all logs are read (Node.Records): a dot names one record everywhere, an operation id is
// written once, each record of a lane names the one before it, and depends on all that its
// transactions had seen, by their histories. Logs are read up to what is exposed, and
// after a crash again from what was on the disk on: what a crash takes back may be written again. So may
// what was on one disk only, which is lost.
//
// A log is cut only up to what every region has had on a disk; where logs are limited, up to what most
// have had. Two things are no fault. A region that took its data from another has no log below that
// cut. And one that has lost its disk may come back with less than others have dropped, on the word of
// its former disk: then it takes their data.
//
// # What replays
//
// The plan of a seed is always the same. What then happens is nearly so: raft draws from the seed as well, and one processor runs one
// goroutine at a time, but which one is the choice of Go's scheduler, as is the order of maps and of the
// cases of a select. So a seed that fails fails again often, not always. What decides in the nodes
// replays exactly: all calls of each node's machine are recorded, and a fresh machine answers them
// byte for byte the same.
//
// # Invariants
//
//  1. All that a run decides by chance it draws from its seed.
//  2. Everything that a run has started has ended when it returns, but for what storage strands
//     inside Pebble when a disk fails.
//  3. Nothing here holds a mutex while time passes: who waits for one keeps it from passing.
package sim
