package kv_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

func drawToken(t *rapid.T) kv.Token {
	tok := kv.Token{Seen: drawVector(t, "seen")}
	tok.Cluster[0] = rapid.ByteRange(1, 3).Draw(t, "cluster")
	return tok
}

func TestTokensDecodeToWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tok := drawToken(t)
		got, err := kv.DecodeToken(tok.Encode())
		require.NoError(t, err)
		require.Equal(t, tok.Cluster, got.Cluster)
		require.True(t, tok.Seen.Equal(got.Seen))
	})
	require.Empty(t, kv.Token{}.Encode())
	got, err := kv.DecodeToken(nil)
	require.NoError(t, err)
	require.Equal(t, kv.Token{}, got)
}

// A token is handed through other people's services: what got damaged on the way is refused.
func TestDamagedTokensAreRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawToken(t).Encode()
		at := rapid.IntRange(0, 8*len(b)-1).Draw(t, "bit")
		b[at/8] ^= 1 << (at % 8)
		_, err := kv.DecodeToken(b)
		require.ErrorIs(t, err, kv.ErrInvalid)
		b[at/8] ^= 1 << (at % 8)
		n := rapid.IntRange(1, len(b)-1).Draw(t, "bytes left")
		_, err = kv.DecodeToken(b[:n])
		require.ErrorIs(t, err, kv.ErrInvalid)
	})
}

func TestTokenEncodingIsFixed(t *testing.T) {
	tok := kv.Token{Cluster: kv.ClusterID{1, 2}, Seen: clock.VectorOf(clock.Entry{Region: 1, Time: 5})}
	require.Equal(t, "01"+"01020000000000000000000000000000"+"010109"+"e23e38f7", hex.EncodeToString(tok.Encode()))
}

func TestTokensOfOneClusterJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawToken(t), drawToken(t)
		j, err := a.Join(b)
		if a.Cluster != b.Cluster {
			require.ErrorIs(t, err, kv.ErrInvalid)
			return
		}
		require.NoError(t, err)
		require.True(t, j.Seen.Equal(a.Seen.Join(b.Seen)))
		for _, pair := range [][2]kv.Token{{a, {}}, {{}, a}} {
			same, err := pair[0].Join(pair[1])
			require.NoError(t, err)
			require.Equal(t, a, same)
		}
	})
}

func TestTokensTravelAsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tok := drawToken(t)
		text, err := tok.MarshalText()
		require.NoError(t, err)
		require.Equal(t, tok.String(), string(text))
		var got kv.Token
		require.NoError(t, got.UnmarshalText(text))
		require.Equal(t, tok.Encode(), got.Encode())
	})
	var got kv.Token
	require.ErrorIs(t, got.UnmarshalText([]byte("no base64!")), kv.ErrInvalid)
	require.ErrorIs(t, got.UnmarshalText([]byte("AAAA")), kv.ErrInvalid)
	require.NoError(t, got.UnmarshalText(nil))
}

// What has the right checksum may still be no token.
func TestTokensWithAForeignInsideAreRefused(t *testing.T) {
	for name, seen := range map[string]string{"region twice": "0201020002", "bytes behind": "0000", "no vector": "05"} {
		b, err := hex.DecodeString("01" + "01020000000000000000000000000000" + seen)
		require.NoError(t, err)
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
		_, err = kv.DecodeToken(b)
		require.ErrorIs(t, err, kv.ErrInvalid, name)
	}
}

func FuzzDecodeToken(f *testing.F) {
	f.Add(kv.Token{Cluster: kv.ClusterID{1}, Seen: clock.VectorOf(clock.Entry{Region: 1, Time: 5})}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		tok, err := kv.DecodeToken(b)
		if err != nil {
			require.ErrorIs(t, err, kv.ErrInvalid)
			return
		}
		again, err := kv.DecodeToken(tok.Encode())
		require.NoError(t, err)
		require.Equal(t, tok.Cluster, again.Cluster)
		require.True(t, tok.Seen.Equal(again.Seen))
	})
}

func TestOperationIDsParseAsTheyPrint(t *testing.T) {
	id := kv.OpID{0xab, 15: 1}
	got, err := kv.ParseOpID(id.String())
	require.NoError(t, err)
	require.Equal(t, id, got)
	require.False(t, got.IsZero())
	for _, s := range []string{"", "xy", "00", id.String() + "00", id.String()[1:]} {
		_, err := kv.ParseOpID(s)
		require.ErrorIs(t, err, kv.ErrInvalid, "%q", s)
	}
}

func TestNounsPrint(t *testing.T) {
	require.Equal(t, "outcome(9)", kv.Outcome(9).String())
	require.Equal(t, "kind(99)", kv.Kind(99).String())
	require.Equal(t, "too old", kv.KindTooOld.String())
	require.True(t, kv.ClusterID{}.IsZero())
}

// Invariant 3.
func TestErrorsMatchTheirKindAndCause(t *testing.T) {
	err := kv.Errorf(kv.KindStale, "read of %q: %w", "k", io.ErrUnexpectedEOF)
	wrapped := fmt.Errorf("get: %w", err.WithOutcome(kv.OutcomeUnknown))
	require.ErrorIs(t, wrapped, kv.ErrStale)
	require.NotErrorIs(t, wrapped, kv.ErrTooOld)
	require.NotErrorIs(t, kv.ErrStale, err, "only sentinels match by kind")
	require.ErrorIs(t, wrapped, io.ErrUnexpectedEOF)
	require.Equal(t, kv.KindStale, kv.KindOf(wrapped))
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(wrapped))
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	require.Equal(t, `get: read of "k": unexpected EOF (outcome unknown)`, wrapped.Error())
	require.Zero(t, kv.KindOf(context.Canceled))
	require.Zero(t, kv.NeedsOf(context.Canceled))
	require.False(t, kv.IsConflict(wrapped))
	seen := kv.Token{Cluster: kv.ClusterID{1}}
	conflict := fmt.Errorf("update: %w", kv.Conflict(seen, "key %q", "k"))
	require.True(t, kv.IsConflict(conflict))
	require.ErrorIs(t, conflict, kv.ErrAborted)
	require.Equal(t, seen, kv.TokenOf(conflict))
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(conflict))
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(errors.New("of another package")))
}
