package strong

import (
	"encoding/binary"

	"github.com/theriac-db/theriac/kv"
)

// entryVersion is the first byte of every entry that holds proposals.
const entryVersion = 1

// appendProposal adds a proposal to an entry; dst is nil or what appendProposal returned.
func appendProposal(dst, proposal []byte) []byte {
	if len(dst) == 0 {
		dst = append(dst, entryVersion)
	}
	return append(binary.AppendUvarint(dst, uint64(len(proposal))), proposal...)
}

// unpack returns the proposals of an entry, which alias it. An empty entry has none.
func unpack(entry []byte) (proposals [][]byte, err error) {
	if len(entry) == 0 {
		return nil, nil
	}
	if entry[0] != entryVersion {
		return nil, kv.Errorf(kv.KindCorrupt, "strong: an entry of version %d; this theriac reads %d", entry[0], entryVersion)
	}
	for rest := entry[1:]; len(rest) > 0; {
		n, k := binary.Uvarint(rest)
		if k <= 0 || n > uint64(len(rest)-k) {
			return nil, kv.Errorf(kv.KindCorrupt, "strong: malformed entry of %d bytes", len(entry))
		}
		proposals = append(proposals, rest[k:k+int(n):k+int(n)])
		rest = rest[k+int(n):]
	}
	return proposals, nil
}
