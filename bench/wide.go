package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/proxy"
)

// wideRegions are the regions of the figures about places far from each other.
var wideRegions = [...]string{"eu", "us", "ap"}

// trips are round trips between each two of wideRegions: first and second, first and third, second and third.
type trips [3]time.Duration

// distant are the round trips of the latencies, equal those of the throughput.
func distant(e *Env) trips { return trips{e.Trip, 2 * e.Trip, 3 * e.Trip} }
func equal(e *Env) trips   { return trips{2 * e.Trip, 2 * e.Trip, 2 * e.Trip} }

func (t trips) String() string {
	if t[0] == t[1] && t[1] == t[2] {
		return fmt.Sprintf("round trips of %s", t[0])
	}
	return fmt.Sprintf("round trips of %s, %s and %s", t[0], t[1], t[2])
}

// wide is three regions in processes of their own, each on a loopback address of its own. Their clients are
// in this process, each near its region.
type wide struct {
	links   *proxy.Network // nil: nothing is between the regions
	hosts   [len(wideRegions)]netip.Addr
	echoes  [len(wideRegions)]string // answer what they are sent, through the links
	near    listeners
	regions []*process
	dbs     []*client.DB
	leader  int // the region whose voter leads
}

// startWide starts the regions, and returns once all of them vote. Far regions have links between them whose
// round trips delay sets; until then they have none.
func startWide(ctx context.Context, e *Env, far bool) (w *wide, err error) {
	w = &wide{}
	if far {
		w.links = proxy.New()
	}
	for i := range wideRegions {
		if err = w.startRegion(ctx, e, i); err != nil {
			return nil, errors.Join(err, w.quit())
		}
	}
	if err = w.awaitVotes(ctx); err != nil {
		return nil, errors.Join(err, w.quit())
	}
	return w, nil
}

func (w *wide) startRegion(ctx context.Context, e *Env, i int) error {
	name := wideRegions[i]
	w.hosts[i] = netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i)})
	listen, err := freeAddress(w.hosts[i].String())
	if err != nil {
		return err
	}
	config := RegionConfig{Name: name, Dir: filepath.Join(e.Dir, name), Listen: listen, Serve: true}
	if w.links != nil {
		w.links.Host(name, w.hosts[i])
		if config.Advertise, err = w.links.Stream(name, w.hosts[i], listen); err != nil {
			return err
		}
		if err := w.echo(i); err != nil {
			return err
		}
	}
	for _, p := range w.regions {
		config.Join = append(config.Join, p.ready.Peer)
	}
	region, err := startRegion(ctx, e, config, "")
	if err != nil {
		return err
	}
	w.regions = append(w.regions, region)
	db, err := client.Open(ctx, region.ready.Client, client.Insecure())
	if err != nil {
		return err
	}
	w.dbs = append(w.dbs, db)
	return nil
}

// awaitVotes waits until every region votes in the raft group and knows who leads.
func (w *wide) awaitVotes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, childStart)
	defer cancel()
	for i, db := range w.dbs {
		for {
			s, err := db.Status(ctx)
			if err == nil && s.Leader != "" && (s.Strong == "leader" || s.Strong == "follower") {
				w.leader = slices.Index(wideRegions[:], s.Leader)
				break
			}
			if idle(ctx, 50*time.Millisecond) != nil {
				return errors.Join(fmt.Errorf("bench: region %s does not vote: its part is %q, the leader %q", wideRegions[i], s.Strong, s.Leader), err)
			}
		}
	}
	return nil
}

func (w *wide) pids() (out []int) {
	for _, p := range w.regions {
		out = append(out, p.cmd.Process.Pid)
	}
	return out
}

// pairs are the two regions of each of trips.
var pairs = [...][2]int{{0, 1}, {0, 2}, {1, 2}}

// settle makes the links as long as given, and lets what is under way arrive.
func (w *wide) settle(ctx context.Context, e *Env, t trips) error {
	w.delay(t)
	return idle(ctx, e.Slice)
}

func (w *wide) delay(t trips) {
	for i, p := range pairs {
		from, to := wideRegions[p[0]], wideRegions[p[1]]
		w.links.Slow(from, to, proxy.Weather{Delay: t[i] / 2})
		w.links.Slow(to, from, proxy.Weather{Delay: t[i] / 2})
	}
}

// quit stops everything.
func (w *wide) quit() error {
	var errs []error
	for _, db := range w.dbs {
		errs = append(errs, db.Close())
	}
	if w.links != nil && len(w.regions) > 0 {
		w.delay(trips{})
	}
	for _, p := range slices.Backward(w.regions) {
		errs = append(errs, p.quit())
	}
	if w.links != nil {
		w.links.Close()
	}
	w.near.close()
	return errors.Join(errs...)
}

// pings is how many round trips a ping measures.
const pings = 5

// ping is the round trip between two regions now: of a few bytes, by the links and nothing else.
func (w *wide) ping(ctx context.Context, from, to int) (time.Duration, error) {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(w.hosts[from], 0))}
	conn, err := dialer.DialContext(ctx, "tcp", w.echoes[to])
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	b := make([]byte, 64)
	var took []float64
	for range pings {
		begun := time.Now()
		if _, err := conn.Write(b); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(conn, b); err != nil {
			return 0, err
		}
		took = append(took, float64(time.Since(begun)))
	}
	return time.Duration(median(took)), nil
}

// echo opens what answers a region's pings.
func (w *wide) echo(i int) error {
	l, err := net.Listen("tcp", netip.AddrPortFrom(w.hosts[i], 0).String())
	if err != nil {
		return err
	}
	w.near.serve(l)
	w.echoes[i], err = w.links.Stream(wideRegions[i], w.hosts[i], l.Addr().String())
	return err
}

// majority is the round trip from a region to the nearest majority: to the nearest other one of three.
func (w *wide) majority(ctx context.Context, from int) (time.Duration, error) {
	nearest := time.Duration(0)
	for to := range wideRegions {
		if to == from {
			continue
		}
		d, err := w.ping(ctx, from, to)
		if err != nil {
			return 0, err
		}
		if nearest == 0 || d < nearest {
			nearest = d
		}
	}
	return nearest, nil
}

// viaLeader is the round trip from a region to the leader, and from there to the nearest majority.
func (w *wide) viaLeader(ctx context.Context, from int) (time.Duration, error) {
	d, err := w.majority(ctx, w.leader)
	if err != nil || from == w.leader {
		return d, err
	}
	there, err := w.ping(ctx, from, w.leader)
	return there + d, err
}

// listeners answer what they are sent with the same.
type listeners struct {
	all  []net.Listener
	wait sync.WaitGroup
}

func (s *listeners) serve(l net.Listener) {
	s.all = append(s.all, l)
	s.wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.wait.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // until the other end closes
			})
		}
	})
}

func (s *listeners) close() {
	for _, l := range s.all {
		l.Close()
	}
	s.wait.Wait()
}
