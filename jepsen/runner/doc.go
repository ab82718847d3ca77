// Package runner makes runs: a workload on a cluster, under a nemesis, then healed, read for the last
// time, stopped, judged, and written into a folder.
//
// It owns the order of things and the folder. What callers do is package workload's, what is disturbed package
// nemesis's, and how a process or a link is disturbed the cluster's, which the caller brings.
//
// # Folder of a run
//
//	history.jsonl   what the clients saw (docs/formats/history.md)
//	results.json    verdicts, and the run's figures
//	report.html     both, for people
//	cluster/        what the cluster keeps: the logs of its nodes
//
// # Invariants
//
//  1. What Run started has ended when it returns, whatever became of it.
//  2. Once the load has begun there is a history in the folder, also of a run that was interrupted or failed.
//  3. A run that exercised nothing is not valid: the workload's counts, and every kind of fault that was
//     asked for, must have had an effect that was counted, and have been met by transactions under way.
//  4. A node that ends by itself makes the run invalid, whatever the clients saw.
package runner
