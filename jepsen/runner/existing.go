package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
)

// existing is a cluster that somebody else runs. It can't be disturbed from here.
type existing struct {
	names []string
	known []string // names of all regions that the cluster has
	dbs   map[string]*client.DB
	owned []*client.DB
}

// askTimeout bounds the first question to a region of an existing cluster.
const askTimeout = 10 * time.Second

// Existing is the cluster behind connections, of which each reaches another region; they are closed
// with it, or if this fails. All that a run writes goes into buckets of its own, named after bucket, so that neither the
// data that is there nor that of an earlier run is mixed up with it; such buckets must not be there yet.
func Existing(ctx context.Context, dbs []*client.DB, bucket string) (Cluster, error) {
	e := &existing{dbs: map[string]*client.DB{}, owned: dbs}
	var cluster kv.ClusterID
	for i, db := range dbs {
		status, err := ask(ctx, db)
		switch {
		case err != nil:
			err = fmt.Errorf("address %d of the cluster: %w", i+1, err)
		case i > 0 && status.Cluster != cluster:
			err = kv.Errorf(kv.KindInvalid, "address %d is of another cluster than the first", i+1)
		case e.dbs[status.Region] != nil:
			err = kv.Errorf(kv.KindInvalid, "two addresses reach region %s: give one for each region", status.Region)
		default:
			err = unused(ctx, db, status.Region, bucket)
		}
		if err != nil {
			return nil, errors.Join(err, e.Close())
		}
		cluster = status.Cluster
		e.names = append(e.names, status.Region)
		e.learn(status.Regions)
		e.dbs[status.Region] = client.New(inBucket{db.Service(), bucket})
	}
	return e, nil
}

// learn notes regions that a node knows.
func (e *existing) learn(regions []kv.RegionStatus) {
	for _, r := range regions {
		if !slices.Contains(e.known, r.Name) {
			e.known = append(e.known, r.Name)
		}
	}
}

// Unread are the regions of the cluster that no address reaches.
func (e *existing) Unread() []string {
	return slices.DeleteFunc(slices.Clone(e.known), func(name string) bool { return slices.Contains(e.names, name) })
}

func ask(ctx context.Context, db *client.DB) (client.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return db.Status(ctx)
}

// unused makes sure that no earlier run has left its data where this one would take it for its own.
func unused(ctx context.Context, db *client.DB, region, bucket string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for name, err := range db.Buckets(ctx) {
		if err != nil {
			return fmt.Errorf("asking region %s for its buckets: %w", region, err)
		}
		if name == bucket || strings.HasPrefix(name, bucket+"/") {
			return kv.Errorf(kv.KindInvalid, "region %s has a bucket %s, of an earlier run: choose another seed", region, name)
		}
	}
	return nil
}

func (e *existing) Regions() []string { return slices.Clone(e.names) }

func (e *existing) DB(region string) *client.DB { return e.dbs[region] }

func (e *existing) Close() error {
	var failed error
	for _, db := range e.owned {
		failed = errors.Join(failed, db.Close())
	}
	return failed
}

// inBucket is a service whose reads and writes are moved to buckets of one name.
type inBucket struct {
	kv.Service
	name string
}

// move is where a bucket of the caller's is.
func (s inBucket) move(o kv.Object) kv.Object {
	o.Bucket = s.bucket(o.Bucket)
	return o
}

func (s inBucket) bucket(b kv.Bucket) kv.Bucket {
	if b == "" || b == kv.DefaultBucket {
		return kv.Bucket(s.name)
	}
	return kv.Bucket(s.name + "/" + string(b))
}

// Keys lists objects, with the buckets that the caller knows.
func (s inBucket) Keys(ctx context.Context, req kv.KeysRequest) (kv.KeysPage, error) {
	asked := req.Bucket
	req.Bucket = s.bucket(asked)
	page, err := s.Service.Keys(ctx, req)
	for i := range page.Objects {
		page.Objects[i].Bucket = asked
	}
	return page, err
}

func (s inBucket) ops(ops []kv.Op) []kv.Op {
	ops = slices.Clone(ops)
	for i := range ops {
		ops[i].Object = s.move(ops[i].Object)
	}
	return ops
}

func (s inBucket) queries(queries []kv.Query) []kv.Query {
	queries = slices.Clone(queries)
	for i := range queries {
		queries[i].Object = s.move(queries[i].Object)
	}
	return queries
}

// Do runs a one-shot transaction.
func (s inBucket) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	req.Ops, req.Queries = s.ops(req.Ops), s.queries(req.Queries)
	return s.Service.Do(ctx, req)
}

// Execute runs a step of an interactive one.
func (s inBucket) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	return s.Service.Execute(ctx, id, s.ops(ops), s.queries(queries))
}
