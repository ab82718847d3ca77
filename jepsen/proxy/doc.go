// Package proxy puts itself on every link between regions, on loopback and without rights, and makes
// links as bad as it is told: cut in one direction, slow, lossy, stalled, reset, without gossip.
//
// It knows bytes and datagrams only, and nothing of what they say. Who sends it tells by the address
// that a connection or datagram comes from: every region has a loopback address of its own, which its
// node listens on and dials from. What comes from anywhere else, a client say, is passed on untouched.
//
//	node of eu 127.9.8.1 ---> front of us 127.9.8.2:port ---> node of us 127.9.8.2:6711
//	                           link eu>us: bytes from eu to us
//	                           link us>eu: the answers
//
// # What a fault does
//
// A connection carries two links, one each way. On a link that is cut bytes wait, as they would for TCP
// to send them again, and go on when it is healed, unless an end gave up meanwhile; also how the
// connection ends is told only then. A connection is made only when both ways are open. Datagrams are
// dropped. A lost packet of a connection comes late, by the time after which TCP sends it again.
//
// # Invariants
//
//  1. Bytes are never changed, reordered, doubled or, while both ends keep the connection, lost.
//  2. What waits of a connection is bounded by Window each way; then who sends waits.
//  3. After Close every goroutine has ended and every socket is closed.
package proxy
