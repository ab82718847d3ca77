// Package embedded runs regions inside the program: one as a database of its own (Open), or a whole
// cluster of them in memory for tests and demonstrations (StartCluster), which can be cut, healed,
// crashed and restarted.
//
// A DB from here is the same *client.DB that client.Open returns for a server; only the network is
// missing. The package owns no protocol and no data: node does the work.
//
// # Invariants
//
//  1. Everything that Open and StartCluster start has stopped when Close returns.
//  2. Crash loses what was not synced, as a power cut would, and nothing else. It is one moment for
//     clients, peers and the disk: nothing that any of them learned of can be missing on the disk.
//
// The tests take -seed and -rounds; "go test ./client/embedded -run TestChaos -rounds 1000" soaks.
package embedded
