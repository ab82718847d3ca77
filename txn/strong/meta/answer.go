package meta

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/wire"
)

// answerVersion is the first byte of an answer.
const answerVersion = 1

// AppendAnswer encodes a result for who proposed the command, and for the certifier, which keeps it: all
// but Ends. It takes at most 600 bytes.
func (r *Result) AppendAnswer(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, answerVersion), r.Version)
	dst = binary.AppendUvarint(dst, uint64(r.Region))
	if r.Err == nil {
		return append(dst, 0)
	}
	return wire.AppendBytes(append(dst, byte(r.Err.Kind)), cut(r.Err.Message))
}

// cut shortens a text to MaxMessage bytes, between characters.
func cut(text string) string {
	if len(text) <= MaxMessage {
		return text
	}
	n := MaxMessage
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// DecodeAnswer reads what AppendAnswer wrote.
func DecodeAnswer(answer []byte) (Result, error) {
	r := wire.NewReader(answer)
	if r.Byte() != answerVersion {
		r.Fail()
	}
	result := Result{Version: r.Uvarint(), Region: r.Region()}
	if kind := kv.Kind(r.Byte()); kind != 0 {
		result.Err = &kv.Error{Kind: kind, Message: string(r.Bytes(MaxMessage))}
	}
	if !r.Finished() {
		return Result{}, kv.Errorf(kv.KindCorrupt, "malformed answer to a metadata command (%d bytes)", len(answer))
	}
	return result, nil
}
