package debian

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/cmd/theriac/jsonl"
)

// patience bounds the whole test; it is passed on as the deadline of every call.
const patience = 10 * time.Minute

// batchOps is how many operations one transaction of the import holds, about.
const batchOps = 5000

// TestHalvesImportedInTwoRegionsGiveTheIndexDigest imports half of the machine's package index in
// one region and half in another at the same time, while the third is cut off. Once that is healed,
// all three digests are equal, and equal to what indexdigest computes from the index itself.
func TestHalvesImportedInTwoRegionsGiveTheIndexDigest(t *testing.T) {
	converter, indexdigest := program(t, "converter"), program(t, "indexdigest")
	index := systemIndex(t)
	if index == "" {
		index = "testdata/index"
	}
	limit := "0"
	if testing.Short() {
		limit = "2000"
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cluster, err := embedded.StartCluster(ctx, embedded.ClusterOptions{Regions: []string{"eu", "us", "ap"}})
	require.NoError(t, err)
	defer func() { require.NoError(t, cluster.Close()) }()

	cluster.Isolate("ap")
	seen, err := importHalves(ctx, cluster, map[string]string{
		"eu": output(t, converter, "--limit", limit, "--part", "1/2", index),
		"us": output(t, converter, "--limit", limit, "--part", "2/2", index),
	})
	require.NoError(t, err)
	requireCutOff(t, cluster, "ap", seen)
	cluster.Rejoin("ap")

	want := output(t, indexdigest, "--limit", limit, index)
	t.Logf("index: %s", want)
	for _, region := range cluster.Regions() {
		d, err := cluster.DB(region).Digest(ctx, "debian", client.WithToken(seen))
		require.NoError(t, err, region)
		require.Equal(t, want, fmt.Sprintf("%s %d\n", hex.EncodeToString(d.Sum[:]), d.Objects), region)
	}
}

// importHalves imports each region's lines there, all at the same time, and returns a token of it
// all.
func importHalves(ctx context.Context, cluster *embedded.Cluster, lines map[string]string) (client.Token, error) {
	sessions := map[string]*client.Session{}
	group, ctx := errgroup.WithContext(ctx)
	for region, text := range lines {
		s := cluster.DB(region).Session()
		sessions[region] = s
		group.Go(func() error { return importLines(ctx, s, text) })
	}
	if err := group.Wait(); err != nil {
		return client.Token{}, err
	}
	var all client.Token
	for _, s := range sessions {
		joined, err := all.Join(s.Token())
		if err != nil {
			return client.Token{}, err
		}
		all = joined
	}
	return all, nil
}

// importLines writes objects, some to a transaction.
func importLines(ctx context.Context, s *client.Session, text string) error {
	var ops []client.Op
	flush := func() error {
		_, err := s.Do(ctx, ops, nil)
		ops = nil
		return err
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, jsonl.MaxLine)
	for lines.Scan() {
		object, value, err := jsonl.Decode(lines.Bytes(), "debian")
		if err != nil {
			return err
		}
		for _, round := range jsonl.Ops(object, value) {
			ops = append(ops, round...)
		}
		if len(ops) < batchOps {
			continue
		}
		if err := flush(); err != nil {
			return err
		}
	}
	return errors.Join(lines.Err(), flush())
}

// requireCutOff checks that a region has nothing of the import, says so, and still serves.
func requireCutOff(t *testing.T, cluster *embedded.Cluster, region string, seen client.Token) {
	t.Helper()
	db := cluster.DB(region)
	d, err := db.Digest(t.Context(), "debian", client.Eventual())
	require.NoError(t, err)
	require.Zero(t, d.Objects, "the region that is cut off has received something")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = db.Counter("any").Get(ctx, client.WithToken(seen))
	require.Error(t, err, "the region that is cut off claims to have seen the import")
	require.NoError(t, db.Counter("own").Add(t.Context(), 1))
}
