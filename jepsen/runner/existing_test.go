package runner

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/workload"
	"github.com/theriac-db/theriac/kv"
)

func dbs(r *regions, names ...string) []*client.DB {
	var out []*client.DB
	for _, name := range names {
		out = append(out, client.New(r.Service(name)))
	}
	return out
}

// TestAClusterThatRunsAlready: a run on it is valid although there is data of an earlier one under the
// same names, and leaves alone what is in other buckets.
func TestAClusterThatRunsAlready(t *testing.T) {
	r := start(t)
	defer r.Close()
	for _, bucket := range []string{"jepsen-1", "jepsen-2"} {
		c, err := Existing(t.Context(), dbs(r, "us", "eu", "ap"), bucket)
		require.NoError(t, err)
		require.Equal(t, []string{"us", "eu", "ap"}, c.Regions())
		conf := config(t, c)
		conf.Workload, conf.TimeLimit = "mixed", 2*time.Second
		out, err := Run(t.Context(), conf)
		require.NoError(t, err)
		require.Equal(t, checker.Valid, out.Verdict, anomalies(out))
		require.Equal(t, map[string]int{workload.Unwatched: 1}, out.Faults, "nobody here would hear of a crash")
	}
	for object, err := range r.DB("eu").Bucket(string(kv.DefaultBucket)).Keys(t.Context(), "") {
		t.Fatalf("it wrote %v, %v", object, err)
	}
	found := map[string]bool{}
	for bucket, err := range r.DB("eu").Buckets(t.Context()) {
		require.NoError(t, err)
		found[bucket] = true
	}
	require.True(t, found["jepsen-1"] && found["jepsen-2"], "%v", found)
	_, err := Existing(t.Context(), dbs(r, "us", "eu", "ap"), "jepsen-2")
	require.ErrorContains(t, err, "region us has a bucket jepsen-2, of an earlier run: choose another seed")
	require.Equal(t, kv.KindInvalid, kv.KindOf(err))
}

// TestRegionsThatNobodyReadAreNamed: in the history, and so in the verdict on convergence, whoever judges it.
func TestRegionsThatNobodyReadAreNamed(t *testing.T) {
	r := start(t)
	defer r.Close()
	c, err := Existing(t.Context(), dbs(r, "us", "eu"), "some")
	require.NoError(t, err)
	conf := config(t, c)
	conf.Regions, conf.TimeLimit = c.Regions(), 2*time.Second
	out, err := Run(t.Context(), conf)
	require.NoError(t, err)
	require.Equal(t, checker.Valid, out.Verdict, anomalies(out))
	note := func(results []checker.Result) string {
		return results[slices.IndexFunc(results, func(r checker.Result) bool { return r.Checker == "convergence" })].Note
	}
	require.Equal(t, "not read, so not judged: region ap", note(out.Results))
	h, err := history.ReadFile(filepath.Join(conf.Out, HistoryFile))
	require.NoError(t, err)
	again, _, err := Judge(t.Context(), h, nil)
	require.NoError(t, err)
	require.Equal(t, "not read, so not judged: region ap", note(again))
	page, err := os.ReadFile(filepath.Join(conf.Out, ReportFile))
	require.NoError(t, err)
	require.Contains(t, string(page), "not read, so not judged: region ap")
}

// TestBucketsAreMoved: what names no bucket, and what names one.
func TestBucketsAreMoved(t *testing.T) {
	s := inBucket{name: "mine"}
	require.Equal(t, kv.Bucket("mine"), s.move(kv.Object{}).Bucket)
	require.Equal(t, kv.Bucket("mine"), s.move(kv.Object{Bucket: kv.DefaultBucket}).Bucket)
	require.Equal(t, kv.Bucket("mine/other"), s.move(kv.Object{Bucket: "other"}).Bucket)
	given := []kv.Op{{Object: kv.Object{Key: "k"}}}
	require.Equal(t, kv.Bucket("mine"), s.ops(given)[0].Bucket)
	require.Empty(t, given[0].Bucket, "slices of callers are theirs")
	page, err := inBucket{echo{}, "mine"}.Keys(t.Context(), kv.KeysRequest{Bucket: "other"})
	require.NoError(t, err)
	require.Equal(t, []kv.Object{{Bucket: "other", Key: "mine/other"}}, page.Objects, "listed where it is, and told under its own name")
}

// echo lists the name of the bucket that it is asked for.
type echo struct{ kv.Service }

func (echo) Keys(_ context.Context, req kv.KeysRequest) (kv.KeysPage, error) {
	return kv.KeysPage{Objects: []kv.Object{{Bucket: req.Bucket, Key: kv.Key(req.Bucket)}}}, nil
}

// gone is a node that does not answer.
type gone struct{ kv.Service }

func (gone) Status(context.Context) (kv.Status, error) {
	return kv.Status{}, kv.Errorf(kv.KindUnavailable, "nobody there")
}

// TestAClusterThatCanNotBeWorkedOn: each mistake has its words.
func TestAClusterThatCanNotBeWorkedOn(t *testing.T) {
	r := start(t)
	defer r.Close()
	_, err := Existing(t.Context(), append(dbs(r, "eu"), client.New(gone{})), "b")
	require.ErrorContains(t, err, "address 2 of the cluster: ")
	require.Equal(t, kv.KindUnavailable, kv.KindOf(err))
	_, err = Existing(t.Context(), dbs(r, "eu", "us", "eu"), "b")
	require.ErrorContains(t, err, "two addresses reach region eu")
	other, err := embedded.Open(t.Context(), t.TempDir())
	require.NoError(t, err)
	defer other.Close()
	_, err = Existing(t.Context(), append(dbs(r, "eu"), client.New(other.Service())), "b")
	require.ErrorContains(t, err, "another cluster")
}
