package main

import (
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/bench"
	"github.com/theriac-db/theriac/client"
)

func TestFlagsChooseBenchmarksAndScale(t *testing.T) {
	o, err := parse([]string{"-quick", "-run", "^adds", "-rounds", "7", "-dir", "d", "-write", "w"}, io.Discard)
	require.NoError(t, err)
	names := []string{}
	for _, b := range o.chosen() {
		names = append(names, b.Name)
	}
	require.Equal(t, []string{"adds-unsynced", "adds-synced"}, names)
	require.Equal(t, 7, o.scale().Rounds)
	require.Equal(t, bench.Quick().Many, o.scale().Many)
	require.Equal(t, []string{"d", "w"}, []string{o.dir, o.write})

	o, err = parse(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, bench.Full(), o.scale())
	require.Len(t, o.chosen(), len(bench.All()))
}

func TestWrongFlagsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-run", "("}, {"-rounds", "101"}, {"-rounds", "-1"}, {"word"}, {"-what"}} {
		_, err := parse(args, io.Discard)
		require.Error(t, err, args)
	}
	_, err := parse([]string{"-h"}, io.Discard)
	require.ErrorIs(t, err, flag.ErrHelp)
}

func TestCommandLineCanBeTyped(t *testing.T) {
	require.Equal(t, "go run ./bench/cmd -quick -run 'adds|reads'", commandLine([]string{"-quick", "-run", "adds|reads"}))
}

func TestNothingIsMeasuredWhereNothingMatches(t *testing.T) {
	dir := t.TempDir()
	document := filepath.Join(dir, "doc.md")
	require.NoError(t, os.WriteFile(document, []byte("<!-- bench:begin -->\n<!-- bench:end -->\n"), 0o644))
	profile := filepath.Join(dir, "profile")
	err := run(t.Context(), []string{"-run", "^nothing$", "-dir", dir, "-write", document, "-cpuprofile", profile})
	require.NoError(t, err)
	text, err := os.ReadFile(document)
	require.NoError(t, err)
	require.Contains(t, string(text), "| figure |")
	left, err := filepath.Glob(filepath.Join(dir, ".bench-*"))
	require.NoError(t, err)
	require.Empty(t, left)

	require.NoError(t, run(t.Context(), []string{"-list"}))
	require.Error(t, run(t.Context(), []string{"-dir", filepath.Join(dir, "missing")}))
	require.Error(t, run(t.Context(), []string{"-run", "^nothing$", "-dir", dir, "-cpuprofile", dir}))
	require.ErrorContains(t, run(t.Context(), []string{childWord, "dance"}), "want echo BYTES")
}

func TestFailedBenchmarksFailTheRun(t *testing.T) {
	broken := errors.New("no disk")
	require.ErrorIs(t, failures([]bench.Figure{{}, {Benchmark: "adds", Err: broken}}), broken)
	require.NoError(t, failures([]bench.Figure{{}}))
}

func TestEmbeddedDatabaseKeepsWhatWasWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	for i, o := range []bench.Options{{}, {NoLeafCache: true}} {
		db, stop, err := openEmbedded(t.Context(), dir, o)
		require.NoError(t, err)
		require.NoError(t, db.Counter("c").Add(t.Context(), 1))
		n, err := db.Counter("c").Get(t.Context())
		require.NoError(t, err)
		require.Equal(t, int64(i+1), n)
		require.NoError(t, stop())
	}
	_, _, err := openEmbedded(t.Context(), "/dev/null", bench.Options{})
	require.Error(t, err)
}

func TestRegionsReplicateAndServeClients(t *testing.T) {
	dir := t.TempDir()
	first, err := openRegion(t.Context(), bench.RegionConfig{Name: "eu", Dir: filepath.Join(dir, "eu")})
	require.NoError(t, err)
	second, err := openRegion(t.Context(), bench.RegionConfig{Name: "us", Dir: filepath.Join(dir, "us"), Join: []string{first.Peer}, Serve: true})
	require.NoError(t, err)
	session := first.DB.Session()
	require.NoError(t, session.Counter("c").Add(t.Context(), 5))
	db, err := client.Open(t.Context(), second.Client, client.Insecure())
	require.NoError(t, err)
	n, err := db.Resume(session.Token()).Counter("c").Get(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(5), n)
	require.NoError(t, db.Close())
	require.NoError(t, second.Stop())
	require.NoError(t, first.Stop())
	_, err = openRegion(t.Context(), bench.RegionConfig{Name: "eu", Listen: "nowhere"})
	require.Error(t, err)
	_, err = openRegion(t.Context(), bench.RegionConfig{Name: "NOT A NAME", Dir: dir})
	require.Error(t, err)
}
