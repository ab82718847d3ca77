package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/theriac-db/theriac/bench/limits"
	"github.com/theriac-db/theriac/bench/load"
	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/clock"
)

// A child is a process of its own that holds a region, or the bare echo server, and does what its
// parent asks on stdin: one JSON message a line, each answered by one on stdout. It stops in order
// when stdin ends.

// RegionConfig says which region a child runs.
type RegionConfig struct {
	Name, Dir string
	Join      []string // peer addresses of nodes of the cluster
	Listen    string   // peer address to listen on, from whose host it dials as well; empty: any port of 127.0.0.1
	Advertise string   // peer address that others are told; empty: the one listened on
	Serve     bool     // clients too
}

// Region is a running region with its addresses.
type Region struct {
	DB           *client.DB
	Client, Peer string       // addresses; Client is empty when it serves none
	Written      func() int64 // batches that its store has written since it was opened
	Stop         func() error
}

// RegionOpener starts a region that listens on loopback.
type RegionOpener func(ctx context.Context, c RegionConfig) (*Region, error)

// ready is a child's first line.
type ready struct {
	Client, Peer string
	Region       clock.Region
}

// request is what a parent asks.
type request struct {
	Do         string          // "fill", "add", "watch", "reach", "written", "check"
	Keys       int             // fill, add: counters
	Goroutines int             // add
	Count      int64           // add: stop after so many; 0: after Seconds; check: transactions
	Seconds    float64         // add, watch
	Rate       float64         // add: a second; 0: as fast as it goes
	Applied    bool            // add: answer before it is on disk
	Fresh      bool            // add: each to a counter of its own, whose key is random bytes
	Plain      bool            // check: all callers have sessions and call at causal level
	Region     clock.Region    // watch, reach: whose exposed timestamp
	Time       clock.Timestamp // reach: wait for it
}

// reply is a child's answer.
type reply struct {
	Error    string
	Done     int64   // add: how many; written: batches; check: operations
	Seconds  float64 // add: in which time; check: of processor
	Commits  []point // add: some commits, with the moments at which they were answered
	Progress []point // add: how far it was when
	Rises    []point // watch: what was exposed when
	Late     float64 // watch: by how many milliseconds its looks came late, at the 99th percentile
	Bytes    int64   // check: memory, at its peak
	Limit    float64 // check: seconds that reading took
}

// point is something seen at a moment of the machine's clock, which all children share.
type point struct {
	At    int64           // nanoseconds since the Unix epoch
	Time  clock.Timestamp // commit's, or exposed
	Count int64           // Progress: commits so far
}

// childLine bounds a message between parent and child: a minute's points.
const childLine = 256 << 20

// RunChild is the main function of a child: args say what it is, "echo BYTES", "region CONFIG" or "check".
func RunChild(ctx context.Context, args []string, in io.Reader, out io.Writer, open RegionOpener) error {
	switch {
	case len(args) == 2 && args[0] == "echo":
		return echoChild(args[1], in, out)
	case len(args) == 2 && args[0] == "region":
		return regionChild(ctx, args[1], in, out, open)
	case len(args) == 1 && args[0] == "check":
		return checkChild(in, out)
	}
	return fmt.Errorf("bench: child %q: want echo BYTES, region CONFIG or check", args)
}

func echoChild(size string, in io.Reader, out io.Writer) error {
	answer, err := strconv.Atoi(size)
	if err != nil {
		return fmt.Errorf("bench: child echo: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := limits.NewEchoServer(answer)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	err = json.NewEncoder(out).Encode(ready{Client: l.Addr().String()})
	if err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	server.Stop()
	return errors.Join(err, <-done)
}

func regionChild(ctx context.Context, config string, in io.Reader, out io.Writer, open RegionOpener) error {
	var c RegionConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return fmt.Errorf("bench: child region: %w", err)
	}
	region, err := open(ctx, c)
	if err != nil {
		return err
	}
	return errors.Join(serveParent(ctx, region, in, out), region.Stop())
}

func serveParent(ctx context.Context, region *Region, in io.Reader, out io.Writer) error {
	status, err := region.DB.Status(ctx)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	if err := encoder.Encode(ready{region.Client, region.Peer, status.Lane.Region}); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var q request
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			return fmt.Errorf("bench: child: %w", err)
		}
		r, err := obey(ctx, region, q, status.Lane.Region)
		if err != nil {
			r.Error = err.Error()
		}
		if err := encoder.Encode(r); err != nil {
			return err
		}
	}
	return lines.Err()
}

func obey(ctx context.Context, region *Region, q request, own clock.Region) (reply, error) {
	db := region.DB
	switch q.Do {
	case "fill":
		return reply{}, loadCounters(ctx, db, counterKeys(q.Keys))
	case "add":
		return newAdder(db, q, own).run(ctx)
	case "watch":
		return watch(ctx, db, q)
	case "reach":
		return reply{}, reach(ctx, db, q)
	case "written":
		return reply{Done: region.Written()}, nil
	}
	return reply{}, fmt.Errorf("bench: child: no such request %q", q.Do)
}

// watchEvery is how often a child looks at what it exposes.
const watchEvery = 200 * time.Microsecond

// exposed is what the node exposes of a region now, lowered to its last transaction.
func exposed(ctx context.Context, db *client.DB, r clock.Region) (clock.Timestamp, error) {
	var receipt client.Receipt
	_, err := db.Counter(counterKey(0)).Get(ctx, client.Eventual(), client.WithReceipt(&receipt))
	return receipt.Snapshot.At(r), err
}

// watch notes when the exposed timestamp of a region rose, and to what.
func watch(ctx context.Context, db *client.DB, q request) (r reply, err error) {
	end := time.Now().Add(seconds(q.Seconds))
	last := clock.Timestamp(0)
	var late load.Histogram
	before := time.Now()
	err = poll(ctx, func() (bool, error) {
		t, err := exposed(ctx, db, q.Region)
		now := time.Now()
		late.Record(now.Sub(before) - watchEvery)
		before = now
		if t > last {
			last = t
			r.Rises = append(r.Rises, point{At: now.UnixNano(), Time: t})
		}
		return now.After(end), err
	})
	r.Late = milliseconds(late.Quantile(0.99))
	return r, err
}

// reach waits until a region is exposed up to a timestamp.
func reach(ctx context.Context, db *client.DB, q request) error {
	return poll(ctx, func() (bool, error) {
		t, err := exposed(ctx, db, q.Region)
		return t >= q.Time, err
	})
}

// poll calls fn every watchEvery until it is done or fails.
func poll(ctx context.Context, fn func() (done bool, err error)) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		if done, err := fn(); done || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
