package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/theriac-db/theriac/bench/limits"
)

// etcdNodes is how many servers the limit of strong transactions has: as many as there are regions.
const etcdNodes = 3

// etcds are servers of etcd on this machine, and a connection to the one that leads.
type etcds struct {
	servers []*exec.Cmd
	leader  *limits.EtcdClient
}

// startEtcds starts a cluster, and returns once it has a leader.
func startEtcds(ctx context.Context, e *Env) (c *etcds, err error) {
	command := e.Etcd
	if len(command) == 0 {
		command = []string{"etcd"}
	}
	if _, err := exec.LookPath(command[0]); err != nil {
		return nil, fmt.Errorf("bench: the limit here is etcd: install Debian's package etcd-server: %w", err)
	}
	c = &etcds{}
	addresses, err := c.start(ctx, e, command)
	if err == nil {
		c.leader, err = etcdLeader(ctx, addresses)
	}
	if err != nil {
		return nil, errors.Join(err, c.quit())
	}
	return c, nil
}

func (c *etcds) start(ctx context.Context, e *Env, command []string) (clients []string, err error) {
	var peers, members []string
	for i := range etcdNodes {
		client, err := freeAddress("127.0.0.1")
		if err != nil {
			return nil, err
		}
		peer, err := freeAddress("127.0.0.1")
		if err != nil {
			return nil, err
		}
		clients, peers = append(clients, client), append(peers, "http://"+peer)
		members = append(members, fmt.Sprintf("n%d=%s", i, peers[i]))
	}
	for i := range etcdNodes {
		name, url := fmt.Sprintf("n%d", i), "http://"+clients[i]
		args := append(append([]string{}, command[1:]...), "--name", name, "--data-dir", filepath.Join(e.Dir, "etcd-"+name),
			"--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peers[i],
			"--initial-advertise-peer-urls", peers[i], "--initial-cluster", strings.Join(members, ","),
			"--initial-cluster-state", "new", "--logger", "zap", "--log-level", "fatal")
		server := exec.CommandContext(ctx, command[0], args...)
		if os.Getenv("THERIAC_BENCH_LOG") != "" {
			server.Stderr = os.Stderr
		}
		if err := server.Start(); err != nil {
			return nil, fmt.Errorf("bench: start etcd: %w", err)
		}
		c.servers = append(c.servers, server)
	}
	return clients, nil
}

// etcdLeader waits until a server leads, and connects to it.
func etcdLeader(ctx context.Context, addresses []string) (*limits.EtcdClient, error) {
	ctx, cancel := context.WithTimeout(ctx, childStart)
	defer cancel()
	var last error
	for i := 0; ; i = (i + 1) % len(addresses) {
		c, err := limits.DialEtcd(addresses[i])
		if err != nil {
			return nil, err
		}
		leads, err := c.Leads(ctx)
		if leads {
			return c, nil
		}
		c.Close()
		if last = err; idle(ctx, 50*time.Millisecond) != nil {
			return nil, fmt.Errorf("bench: no server of etcd leads: %w", errors.Join(last, ctx.Err()))
		}
	}
}

// quit lets all servers stop in order.
func (c *etcds) quit() error {
	var errs []error
	if c.leader != nil {
		errs = append(errs, c.leader.Close())
	}
	for _, s := range c.servers {
		_ = s.Process.Signal(syscall.SIGTERM) // it may have ended
	}
	for _, s := range c.servers {
		timer := time.AfterFunc(childStop, func() { s.Process.Kill() })
		var exit *exec.ExitError
		if err := s.Wait(); err != nil && !errors.As(err, &exit) { // etcd ends by the signal
			errs = append(errs, err)
		}
		timer.Stop()
	}
	return errors.Join(errs...)
}

func (c *etcds) pids() (out []int) {
	for _, s := range c.servers {
		out = append(out, s.Process.Pid)
	}
	return out
}

// puts is the rate of puts of random ones of the keys.
func (c *etcds) puts(e *Env, callers int, keys []string, value []byte) side {
	return func(ctx context.Context) (float64, error) {
		return perSecond(ctx, callers, e.Slice, func(ctx context.Context, random *rand.Rand) error {
			return c.leader.Put(ctx, keys[random.IntN(len(keys))], value)
		})
	}
}
