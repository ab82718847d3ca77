package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The digest's bytes, written out by hand from docs/formats/digest.md.
func TestDigestOfOnePackageByHand(t *testing.T) {
	index := "Package: p\nSection: s\nInstalled-Size: 258\nDepends: b | c, a,\n b  |  c\n"
	bytes := "\x01k" + "\x10installed-size/s" + "\x07counter" + "\x00\x00\x00\x00\x00\x00\x01\x02" +
		"\x01k" + "\x03p__" + "\x03map" +
		"\x01\x07Depends" + "\x06set-aw" + "\x01\x01a" + "\x01\x05b | c" + "\x00" +
		"\x01\x0eInstalled-Size" + "\x0cregister-lww" + "\x03258" +
		"\x01\x07Package" + "\x0cregister-lww" + "\x01p" +
		"\x01\x07Section" + "\x0cregister-lww" + "\x01s" +
		"\x00" +
		"\x01k" + "\x0apackages/s" + "\x07counter" + "\x00\x00\x00\x00\x00\x00\x00\x01"
	want := sha256.Sum256([]byte(bytes))
	sum, objects, err := digest([]byte(index), "k", 0)
	require.NoError(t, err)
	require.Equal(t, 3, objects)
	require.Equal(t, hex.EncodeToString(want[:16]), sum)
}

func TestLimitCountsDistinctPackages(t *testing.T) {
	index := "Package: a\nSection: s\n\nPackage: a\nSection: s\n\nPackage: b\nSection: s\n\nPackage: c\nSection: s\n"
	_, objects, err := digest([]byte(index), "k", 2)
	require.NoError(t, err)
	require.Equal(t, 3, objects) // two packages and packages/s
}

func TestMalformedIndexIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"Version: 1":                   "not a package",
		" x\nPackage: a":               "not a package",
		"Package: a\nnonsense\nB: c":   "field Package: \"nonsense\" neither begins",
		"Package: a\nB: 1\nB: 2":       "field B twice",
		"Package: a\n\nno colon at\nl": "not a package",
	} {
		_, _, err := digest([]byte(text), "k", 0)
		require.ErrorContains(t, err, want, text)
	}
}

func TestIndexIsReadFromAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "index")
	require.NoError(t, os.WriteFile(name, []byte("Package: a"), 0o600))
	b, err := load(name)
	require.NoError(t, err)
	require.Equal(t, "Package: a", string(b))
	_, err = load(name + "x")
	require.ErrorIs(t, err, os.ErrNotExist)
}
