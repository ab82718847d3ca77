//go:build linux

package torture

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEveryAimIsTakenInTurn(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	aims := Aims()
	plan := inTurn(random, aims, 2*len(aims))
	require.Len(t, plan, 2*len(aims))
	for _, a := range aims {
		n := 0
		for _, p := range plan {
			if p.Name == a.Name {
				n++
			}
		}
		require.Equal(t, 2, n, a.Name)
		require.NotPanics(t, func() { require.GreaterOrEqual(t, a.After(random), time.Duration(0)) })
	}
	require.Empty(t, inTurn(random, aims, 0))
}

// script writes a program that stands in for a node.
func script(t *testing.T, text string) string {
	name := filepath.Join(t.TempDir(), "node")
	require.NoError(t, os.WriteFile(name, []byte("#!/bin/sh\n"+text+"\n"), 0o700))
	return name
}

// TestNodesThatDoNotComeUpAreFindings stands for a database that a kill has ruined.
func TestNodesThatDoNotComeUpAreFindings(t *testing.T) {
	for name, c := range map[string]struct{ binary, finds string }{
		"there is no such program": {filepath.Join(t.TempDir(), "none"), "no such file"},
		"it ends before it serves": {script(t, "echo damaged >&2; exit 3"), "does not start: exit status 3"},
		"it serves nobody":         {script(t, "echo theriac ready region=local clients=; exit 0"), "does not start"},
		"it ends by itself later":  {script(t, "echo theriac ready region=local clients=127.0.0.1:1; exit 4"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			k := &Kills{Binary: c.binary, Dir: dir, Seed: 1, Tally: NewTally()}
			aims := Aims()
			ready := aims[slices.IndexFunc(aims, func(a Aim) bool { return a.Name == AimReady })]
			ready.After = func(*rand.Rand) time.Duration { return 300 * time.Millisecond }
			err := k.folder(t.Context(), 0, []Aim{ready})
			require.ErrorContains(t, err, c.finds)
			require.DirExists(t, filepath.Join(dir, "seed-1-folder-0"), "it is kept")
			require.FileExists(t, filepath.Join(dir, "seed-1-folder-0", "book"))
		})
	}
}

func TestProcessIsFrozenLookedAtAndKilled(t *testing.T) {
	out := filepath.Join(t.TempDir(), "000001.sst")
	p, err := spawn(script(t, "exec 7>"+out+"; echo theriac ready clients=here; read x < /dev/zero"), nil, nil)
	require.NoError(t, err)
	require.Equal(t, "here", (<-p.ready)["clients"])
	require.NoError(t, p.freeze())
	require.Equal(t, map[string]bool{".sst": true}, p.writing(filepath.Dir(out)))
	require.Empty(t, p.writing(t.TempDir()))
	require.True(t, p.alive())
	require.NoError(t, p.kill())
	require.False(t, p.alive())
	require.ErrorContains(t, p.kill(), "ended by itself")
	require.Error(t, p.freeze())
}

func TestFilesAreKnownByTheirNames(t *testing.T) {
	for name, kind := range map[string]string{
		"000012.sst": ".sst", "000012.log": ".log", "MANIFEST-000001": "MANIFEST", "marker.manifest.000001.MANIFEST-000001": "marker",
		"LOCK": "LOCK", "WITNESS": "WITNESS", "FORMAT.tmp": "FORMAT",
	} {
		require.Equal(t, kind, kindOfFile(name))
	}
}

func TestWatcherTellsWhatHappensToFiles(t *testing.T) {
	dir := t.TempDir()
	w, err := watch(dir)
	require.NoError(t, err)
	name := filepath.Join(dir, "000007.log")
	require.NoError(t, os.WriteFile(name, []byte("x"), 0o600))
	require.NoError(t, os.Remove(name))
	for _, want := range []fileDeed{fileCreated, fileOpened, fileChanged, fileRemoved} {
		e := <-w.events
		require.Equal(t, fileEvent{"000007.log", want}, e)
	}
	w.close()
	_, err = watch(filepath.Join(dir, "none"))
	require.ErrorContains(t, err, "watching")
}

func TestTallyTellsWhatNeverHappened(t *testing.T) {
	y := NewTally()
	y.Add("a", 2)
	y.Add("a", 1)
	require.Equal(t, 3, y.Get("a"))
	require.Equal(t, []string{"b"}, y.Missing([]string{"a", "b"}))
	require.Contains(t, y.Table(), "| a | 3 |")
	require.Subset(t, (&Cuts{}).Wanted(), []string{"cuts: opening", "cuts: checkpoint"})
	require.NotContains(t, (&Kills{}).Wanted(), "kills: aimed at truncation of the log", "it takes long")
	require.Contains(t, (&Kills{Slow: 1}).Wanted(), "kills: aimed at truncation of the log")
}
