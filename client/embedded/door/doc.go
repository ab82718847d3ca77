// Package door holds what stands between a region's clients and its node in one process: a service that
// stays valid while nodes come and go. It is not responsible for nodes, nor for what is behind their
// service.
//
// # Invariants
//
//  1. No answer that tells of a node's data is let out after Shut has returned: a crash may have taken
//     back what it says. A write whose answer is kept back has an unknown outcome.
package door
