package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/kv"
)

// placed is a region's service that says where the others are: at their names, port 1.
type placed struct{ kv.Service }

func (p placed) Status(ctx context.Context) (kv.Status, error) {
	s, err := p.Service.Status(ctx)
	for i := range s.Regions {
		s.Regions[i].Addresses = []string{s.Regions[i].Name + ":1"}
	}
	return s, err
}

func (p placed) Close() error { return nil }

// onCluster runs a command against regions that are found by their names.
func onCluster(c *embedded.Cluster, down map[string]bool, args ...string) (code int, stdout, stderr string) {
	app, out, errs := newTestApp(nil, "")
	app.Dial = func(_ context.Context, settings config.Client) (Connection, error) {
		name := strings.TrimSuffix(settings.Addrs[0], ":1")
		if down[name] {
			return nil, kv.Errorf(kv.KindUnavailable, "connection refused")
		}
		return placed{c.Service(name)}, nil
	}
	code = app.Run(context.Background(), append(args, "--addr", "eu:1"))
	return code, out.String(), errs.String()
}

func TestClusterStatusShowsPairsAndLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := embedded.StartCluster(t.Context(), embedded.ClusterOptions{})
		require.NoError(t, err)
		defer func() { require.NoError(t, c.Close()) }()
		<-time.After(10 * time.Second)
		code, out, stderr := onCluster(c, nil, "cluster", "status")
		require.Equal(t, ExitOK, code, stderr)
		require.Regexp(t, `READ IN +OF eu +OF us +OF ap`, out)
		require.Regexp(t, `(?m)^eu +- +\d+m?s / \d+m?s +\d+m?s / \d+m?s`, out)
		for _, name := range c.Regions() {
			require.Regexp(t, `(?m)^`+name+` +yes +yes +yes +yes +yes$`, out)
		}
		c.Isolate("ap")
		<-time.After(10 * time.Second)
		code, out, _ = onCluster(c, map[string]bool{"us": true}, "cluster", "status")
		require.Equal(t, ExitOK, code)
		require.Regexp(t, `(?m)^ap +yes +yes +no +no +no$`, out)
		require.Contains(t, out, "ap: strong: no leader of the raft group is known here")
		require.Contains(t, out, "us: not heard: connection refused")
		require.Regexp(t, `(?m)^us +\? +\? +\?`, out)
		code, out, _ = onCluster(c, map[string]bool{"us": true}, "cluster", "status", "-o", "json")
		require.Equal(t, ExitOK, code)
		var doc clusterJSON
		require.NoError(t, json.NewDecoder(bytes.NewBufferString(out)).Decode(&doc))
		require.Len(t, doc.Regions, 3)
		require.Equal(t, "connection refused", doc.Regions[1].Error)
		require.Len(t, doc.Regions[2].Status.Levels, 5)
		require.Greater(t, *doc.Regions[0].Status.Regions[2].Staleness, int64(5000))
	})
}

// Two ages are two, also where they are the same.
func TestStalenessOfAPairIsTwoAges(t *testing.T) {
	at := kv.Status{Lane: clock.Lane{Region: 1}, Regions: []kv.RegionStatus{
		{Region: 1},
		{Region: 2, StalenessKnown: true, Staleness: 128 * time.Millisecond, StalenessP99: 128 * time.Millisecond},
		{Region: 3, StalenessP99: time.Second},
	}}
	v := view{status: at}
	for region, want := range map[clock.Region]string{1: "-", 2: "128ms / 128ms", 3: "?", 4: "?"} {
		require.Equal(t, want, v.of(region))
	}
	v.err = kv.ErrUnavailable
	require.Equal(t, "?", v.of(2))
}

func TestClusterStatusIsPrintedAgain(t *testing.T) {
	svc := placed{memkv.New().Node(1, "eu")}
	code, _, stderr := runOn(svc, "", "cluster", "status", "--every", "-1s")
	require.Equal(t, ExitUsage, code, stderr)
	synctest.Test(t, func(t *testing.T) {
		app, out, _ := newTestApp(svc, "")
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		require.Equal(t, ExitOK, app.Run(ctx, []string{"cluster", "status", "--every", "1s"}))
		require.Equal(t, 4, strings.Count(out.String(), "READ IN"))
	})
}
