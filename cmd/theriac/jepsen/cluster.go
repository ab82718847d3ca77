package jepsen

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/jepsen/cluster"
	"github.com/theriac-db/theriac/jepsen/runner"
	"github.com/theriac-db/theriac/kv"
)

// openProcesses starts processes of this very command.
func openProcesses(ctx context.Context, n Nodes) (runner.Cluster, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this command: %w", err)
	}
	o := cluster.Options{Binary: binary, Dir: n.Dir, Regions: n.Regions, New: n.New, Namespaces: n.Namespaces}
	if err := o.Prepare(n.Nemeses); err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "%w", err)
	}
	c, err := cluster.Start(ctx, o)
	if ctx.Err() != nil {
		return nil, kv.Errorf(kv.KindDeadline, "interrupted: %w", errors.Join(err, closed(c)))
	}
	if err != nil {
		return nil, err
	}
	return processes{c, n}, nil
}

// closed closes a cluster that may be none.
func closed(c *cluster.Cluster) error {
	if c == nil {
		return nil
	}
	return c.Close()
}

// processes are a cluster whose data goes with it.
type processes struct {
	*cluster.Cluster
	nodes Nodes
}

// Close ends the nodes, and removes their data unless it is to be kept. Their logs stay.
func (p processes) Close() error {
	err := p.Cluster.Close()
	if p.nodes.Keep {
		return err
	}
	for _, region := range p.Regions() {
		err = errors.Join(err, os.RemoveAll(p.Disk(region)))
	}
	return err
}

// dial connects to the nodes of --cluster.
func dial(ctx context.Context, f *testFlags) (runner.Cluster, error) {
	settings, err := f.settings()
	if err != nil {
		return nil, err
	}
	opts := []client.Option{client.Insecure()}
	if !settings.Insecure {
		t, err := settings.TLS.Dialer()
		if err != nil {
			return nil, err
		}
		opts = []client.Option{client.WithTLS(t)}
	}
	var dbs []*client.DB
	for _, address := range f.cluster {
		db, err := client.Open(ctx, address, opts...)
		if err != nil {
			for _, opened := range dbs {
				err = errors.Join(err, opened.Close())
			}
			return nil, fmt.Errorf("--cluster %s: %w", address, err)
		}
		dbs = append(dbs, db)
	}
	c, err := runner.Existing(ctx, dbs, fmt.Sprintf("jepsen-%d", f.seed))
	if err != nil {
		return nil, fmt.Errorf("--cluster %s: %w", strings.Join(f.cluster, ","), err)
	}
	return c, nil
}

// settings are those of a client of the nodes that run already, checked as those of any client are.
func (f *testFlags) settings() (*config.Client, error) {
	s := new(config.Client)
	fs := pflag.NewFlagSet("cluster", pflag.ContinueOnError)
	s.Register(fs)
	set := map[string]string{"addr": strings.Join(f.cluster, ","), "tls-ca": f.tls.CA, "tls-cert": f.tls.Cert, "tls-key": f.tls.Key}
	if f.insecure {
		set["insecure"] = "true"
	}
	for name, value := range set {
		if value == "" {
			continue
		}
		if err := fs.Set(name, value); err != nil {
			return nil, kv.Errorf(kv.KindInvalid, "--cluster %s: %w", strings.Join(f.cluster, ","), err)
		}
	}
	if err := s.Validate(fs); err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "%s", strings.ReplaceAll(err.Error(), "--addr", "--cluster"))
	}
	return s, nil
}
