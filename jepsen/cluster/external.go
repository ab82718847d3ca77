package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
)

// External is a cluster that somebody else runs. It can be used and not disturbed: it has none of the
// abilities that package nemesis asks for.
type External struct {
	regions []string
	dbs     map[string]*client.DB
}

// connectTimeout bounds connecting to each of an external cluster's addresses.
const connectTimeout = 10 * time.Second

// Connect connects to a running cluster: an address of each region that is to be used, HOST:PORT. They must be
// of one cluster, each of another region.
func Connect(ctx context.Context, addresses []string, options ...client.Option) (*External, error) {
	if len(addresses) == 0 {
		return nil, errors.New("cluster: no address of a cluster")
	}
	x := &External{dbs: map[string]*client.DB{}}
	numbers, first := map[string]uint16{}, kv.Status{}
	for i, address := range addresses {
		status, err := x.connect(ctx, address, options)
		if err == nil && i > 0 && status.Cluster != first.Cluster {
			err = fmt.Errorf("cluster: %s is of cluster %s, and %s of another one, %s: name the nodes of one", addresses[0], first.Cluster, address, status.Cluster)
		}
		if err != nil {
			return nil, errors.Join(err, x.Close())
		}
		if i == 0 {
			first = status
		}
		numbers[status.Region] = uint16(status.Lane.Region)
	}
	slices.SortFunc(x.regions, func(a, b string) int { return int(numbers[a]) - int(numbers[b]) })
	return x, nil
}

// connect opens one address and asks whose it is.
func (x *External) connect(ctx context.Context, address string, options []client.Option) (kv.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	db, err := client.Open(ctx, address, options...)
	if err != nil {
		return kv.Status{}, fmt.Errorf("cluster: no node answers at %s: %w; start it, or leave the address out", address, err)
	}
	status, err := db.Status(ctx)
	if err == nil && x.dbs[status.Region] != nil {
		err = fmt.Errorf("a node of region %s was named before: name one of each region", status.Region)
	}
	if err != nil {
		return kv.Status{}, errors.Join(fmt.Errorf("cluster: %s: %w", address, err), db.Close())
	}
	x.dbs[status.Region] = db
	x.regions = append(x.regions, status.Region)
	return status, nil
}

// Regions are the names of the regions, in the order of their numbers.
func (x *External) Regions() []string { return slices.Clone(x.regions) }

// DB is a region's database. It panics at the name of another region.
func (x *External) DB(region string) *client.DB {
	db, ok := x.dbs[region]
	if !ok {
		panic(fmt.Sprintf("cluster: no region %q", region))
	}
	return db
}

// Close closes the connections. The cluster goes on.
func (x *External) Close() error {
	var errs []error
	for _, db := range x.dbs {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}
