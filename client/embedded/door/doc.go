// Package door holds what stands between a node in one process and the rest of the world: a service for
// clients that stays valid while nodes come and go, and the wire to its peers. It is not responsible for
// nodes, nor for what is behind their service.
//
// # Invariants
//
//  1. No answer that tells of a node's data is let out after Shut has returned: a crash may have taken
//     back what it says. A write whose answer is kept back has an unknown outcome.
//  2. No peer receives what a node sends after Cut has returned.
package door
