// Package grpctransport carries replication's messages over gRPC: one bidirectional stream a
// connection, each on a TCP connection of its own, compressed.
//
// It knows nothing of what the messages say.
//
// # Invariants
//
//  1. What a connection holds in memory is bounded, whatever the other end sends: MaxMessage a
//     message, StreamWindow bytes not yet read, MaxConns connections accepted, and MaxAsking at a door for
//     strangers.
//  2. Bytes that are no message close the connection; nothing else happens.
//  3. A closed connection's calls return.
package grpctransport
