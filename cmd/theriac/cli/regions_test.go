package cli

import (
	"bufio"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/kv"
)

func TestRegionsComeAndGoByCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := embedded.StartCluster(t.Context(), embedded.ClusterOptions{})
		require.NoError(t, err)
		defer func() { require.NoError(t, c.Close()) }()
		<-time.After(10 * time.Second)
		code, out, stderr := onCluster(c, nil, "cluster", "add", "sa")
		require.Equal(t, ExitOK, code, stderr)
		require.Equal(t, "theriac serve --region sa --data sa --listen HOST:6700 --join eu:1,us:1,ap:1\n", out)
		code, _, stderr = onCluster(c, nil, "cluster", "add", "ap")
		require.Equal(t, ExitUsage, code)
		require.Contains(t, stderr, "there is a region ap, number 3")

		code, _, stderr = onCluster(c, nil, "cluster", "remove", "ap")
		require.Equal(t, ExitUsage, code)
		require.Contains(t, stderr, "say --yes")
		require.Contains(t, stderr, "is connected, and ")
		code, _, stderr = onCluster(c, nil, "cluster", "remove", "nobody", "--yes")
		require.Equal(t, ExitAbsent, code, stderr)
		c.Isolate("us")
		<-time.After(10 * time.Second) // until us is known to be silent, so that ap's vote is kept
		code, _, stderr = onCluster(c, nil, "cluster", "remove", "ap", "--yes", "--timeout", "8s")
		require.Equal(t, ExitApplied, code, stderr)
		require.Contains(t, stderr, "once it is known what these hold of it: us")
		code, out, _ = onCluster(c, map[string]bool{"us": true}, "cluster", "status")
		require.Equal(t, ExitOK, code)
		require.Contains(t, out, "ap: being removed: waits until these have said what they hold of it: us\n")
		code, _, stderr = onCluster(c, nil, "cluster", "add", "sa")
		require.Equal(t, ExitUnavailable, code)
		require.Contains(t, stderr, "is being removed")
		c.Rejoin("us")
		code, out, stderr = onCluster(c, nil, "cluster", "remove", "ap", "--yes", "--timeout", "20s")
		require.Equal(t, ExitOK, code, stderr)
		require.Equal(t, "region ap is removed\n", out)
		code, _, stderr = onCluster(c, nil, "cluster", "remove", "ap", "--yes")
		require.Equal(t, ExitUsage, code)
		require.Contains(t, stderr, "was removed already")
	})
}

// regionsOf is a service that names regions in every phase.
type regionsOf struct {
	kv.Service
	regions []kv.RegionStatus
	err     error
}

func (s regionsOf) Status(context.Context) (kv.Status, error) {
	return kv.Status{Regions: s.regions}, s.err
}

func TestHowRegionsStandIsSaid(t *testing.T) {
	svc := regionsOf{Service: memkv.New().Node(1, "eu"), regions: []kv.RegionStatus{
		{Region: 1, Name: "eu", Phase: "serving", Connected: true}, {Region: 2, Name: "us", Phase: "serving"}, {Region: 3, Name: "ap", Phase: "joining"},
	}}
	code, _, stderr := runOn(svc, "", "cluster", "add", "sa")
	require.Equal(t, ExitUnavailable, code)
	require.Contains(t, stderr, "region ap has not finished joining")
	for name, says := range map[string]string{"us": "is not connected", "ap": "is joining", "sa": "is not known here"} {
		code, _, stderr = runOn(svc, "", "cluster", "remove", name)
		require.Equal(t, ExitUsage, code)
		require.Contains(t, stderr, says)
	}
	code, _, stderr = runOn(svc, "", "cluster", "remove", "us", "--yes")
	require.Equal(t, ExitUsage, code)
	require.Contains(t, stderr, "can't be removed")
	app, out, _ := newTestApp(nil, "")
	r := &run{app: app, out: bufio.NewWriter(out)}
	for _, g := range []kv.RegionStatus{{Name: "a", Phase: "fenced"}, {Name: "b", Phase: "removed"}, {Name: "c", Phase: "joining"}, {Name: "d", Phase: "serving"}} {
		r.printPhase(&g)
	}
	require.NoError(t, r.out.Flush())
	require.Equal(t, "a: being removed\nb: removed; what it left is not all here yet\nc: joining\n", out.String())
	svc.err = kv.Errorf(kv.KindUnavailable, "starting")
	for _, args := range [][]string{{"cluster", "add", "sa"}, {"cluster", "remove", "us"}} {
		code, _, stderr = runOn(svc, "", args...)
		require.Equal(t, ExitUnavailable, code, stderr)
	}
}
