// Package replication carries what one region commits to all others: streams of log records
// between nodes, catching up, subscriptions to the lanes of silent regions, joining and recovery.
//
// It decides nothing about causality: package replication/causal does, behind the Exposure of this
// package. It knows nothing of effects, which travel as bytes; nothing of sockets, which a
// Transport hides; and nothing of disks, which a Store hides.
//
// docs/reference/protocol.md describes the protocol; api/theriac/peer/v1 holds its messages.
package replication
