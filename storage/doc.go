// Package storage owns everything a node keeps on disk: leaves, the lanes' logs, metadata and the
// witness, in one Pebble store. It is the only package that knows Pebble.
//
// It does not know what an effect means (crdt does), which records may be applied when
// (replication/causal does), nor when a group is formed (txn does). It is told the cuts (horizon
// and settled) and lowers them below the removals that it has not carried out yet.
//
// # Goroutines
//
//	Submit -> queue -> writer --(memtable)--> Job.Applied
//	                      \--> syncer --(fsync, witness)--> Job.Durable
//	keeper: syncs the witness file, tidies and sweeps through the writer
//	lifeguard: answers in the writer's place when Pebble has to be stranded (watch.go)
//
// One writer goroutine builds and commits every batch, its own rewrites and removals included, so
// store sequence numbers follow log order and nobody writes a leaf between a rewrite's read and its
// write.
//
// # Invariants
//
//  1. A record's effects, its log entry, the applied time of its lane and the store sequence number
//     are one Pebble batch.
//  2. Every batch writes the state key with a sequence number one above the last one's.
//  3. The witness never names a number that is not synced, and names every number that was reported
//     durable.
//  4. A record is applied only when its Prev is the applied time of its lane.
//  5. A rewrite reads the same at every snapshot that includes the horizon.
//  6. The horizon used is below every pending removal.
//  7. An entry of the leaf cache holds exactly the items of its leaf in the store (equal dots count
//     once).
//  8. After a failed sync, write or checksum nothing more is written.
//  9. The void intervals of a lane, in memory and on disk, are sorted and stand apart: at least one
//     group that was kept lies between two of them, at the lower end of the later one. They hold every
//     timestamp of the lane that a crash took back, and none of a group that was kept.
//  10. A leaf whose generation was dropped is read by no snapshot that includes the horizon, once that includes
//     the drop; only then it goes.
//
// # Folder
//
//	DIR/FORMAT    "theriac store 3\n"; written first: a folder without it is not ours
//	DIR/WITNESS   what was last synced, see below; not part of a checkpoint
//	DIR/data/     the Pebble store, with its lock
//
// # Keys
//
//	leaf      0x10 | shard 1 | name(bucket) | generation 4 BE | name(key) | type 1 | path
//	log       0x20 | region 2 BE | slot 1 | time 8 BE                     -> record (kv.Record)
//	certified 0x30 | index 8 BE                                           -> what was decided of an entry
//	raft      0x40 0x00                                                   -> hard state, below
//	          0x40 0x01                                                   -> head of the snapshot, below
//	          0x40 0x02 | index 8 BE | part 4 BE                          -> 256 KiB of the snapshot's data
//	          0x40 0x03 | index 8 BE                                      -> entry, below
//	state     0x50 0x00                                                   -> state, below
//	meta      0x50 0x01 | name                                            -> bytes of the callers
//	pending   0x50 0x02 | region 2 BE | time 8 BE | index 4 BE            -> pending removal
//	void      0x50 0x03 | region 2 BE | slot 1 | from 8 BE                -> to 8 BE; of (from, to]
//	truncated 0x50 0x04 | region 2 BE | slot 1                            -> time 8 BE
//	drops     0x50 0x06 | bucket                                          -> drops * (time 8 BE | generation 4 BE)
//	short     0x50 0x05                                                   -> reason, text; a zero byte before it until the next start
//
// name(s) is kv.AppendName, path is kv.AppendPath; so leaves sort by (shard, bucket, generation,
// key, type, path) and a leaf's last byte is its type. A leaf's value is a concatenation of items
// (crdt.AppendItem); a commit adds items with a merge operand, a rewrite sets a shorter list.
//
//	state: version 1 | incarnation 8 | number 8 | bound 8 | lanes uvarint
//	       | lanes * (region 2, slot 1, time 8) | crc32c 4          (integers big endian)
//	pending removal: version 1 | prefix, cursor, op: each uvarint length, bytes
//	       | snapshot Vector (relative to 0)
//
// What is kept for raft (raft.go), whose configuration and entries are bytes of package strong:
//
//	hard state: version 1 | voter 8 | term 8 | vote 8 | commit 8 | first 8 | before 8 | crc32c 4
//	snapshot:   version 1 | index 8 | term 8 | size 8 | crc32c of the data 4 | configuration | crc32c 4
//	entry:      term 8 | kind 1 | data | crc32c 4
//
// first is the first entry of the log, before the term of the one before it. A bootstrap (Clear) leaves
// all of it alone: a voter must not forget.
//
// # Witness
//
//	offset 0     slot A: version 1 | incarnation 8 | number 8
//	                     | 2 * (manifest number 8, length 8, crc32c 4) | crc32c 4
//	offset 4096  slot B: the same
//
// Slot A and B are written in turn, one pwrite each, after the sync and before anybody is told; the
// file is synced within WitnessSyncDelay. Pebble's replay may take a damaged synced record of its log
// for a torn tail and drop it, and what follows, in silence; then the number found is below the
// witness's, and Open refuses. A damaged manifest is found by its checksum, before Pebble opens it.
// This is exact after a process was killed. It is blind only when a power cut takes the witness's
// last 100 ms and, together with it, what was written in them is damaged.
package storage
