// Package nemesis plans faults and plays them: which link is cut when, which region is killed, and
// that all of it is undone in the end.
//
// A plan is pure: [Plan.Schedule] gives the same faults for the same seed, regions and kinds, without a
// clock. [Run] plays a schedule on whatever offers the abilities that it needs: real processes, or a
// simulation in a bubble of testing/synctest, since it reads time by package time only. How a link is cut
// or a process killed it does not know.
//
// # Tracks
//
// Kinds that act on the same thing share a track: network, process, clock, disk, membership. Faults of
// one track follow each other and never overlap, so none undoes what another one did; faults of different
// tracks overlap as they come, which is how a crash meets a partition.
//
// # Invariants
//
//  1. Every kind that was asked for is in the schedule at least once, or there is no schedule but an error.
//  2. Each fault ends before its share of the run does, so that a run ends healed even without Run's care.
//  3. When Run returns, every fault that began was undone, or the error says which was not. It is so after
//     an error of a step, and when ctx ends, too.
//  4. The faults of a track begin in order, the next one only when the one before it is undone.
//  5. A fault for the leader hits the region that leads when it begins; where nobody knows it, another one, which
//     its effects say.
//  6. Where the target is a [Witness], what a fault is said to have done is what the target counted between its
//     beginning and its end, and a fault without effect lasts on until it has one, by [MaxLinger] at most
//     and never beyond the next one's beginning.
package nemesis
