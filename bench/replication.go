package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/theriac-db/theriac/bench/limits"
	"github.com/theriac-db/theriac/bench/load"
	"github.com/theriac-db/theriac/clock"
)

const (
	saturating = 512                    // callers that saturate a region
	watchLead  = 200 * time.Millisecond // by which a watch begins before, and ends after, what it watches
	patience   = 2 * time.Minute        // with a child, beyond what it was asked to take
)

// regions are two regions in processes of their own, each pinned to a core where there are two. The
// load is made in the process of the first, on its core.
type regions struct{ first, second *process }

func (r *regions) quit() error { return errors.Join(r.second.quit(), r.first.quit()) }

// startRegions starts both. With a link, the first reaches the second through it.
func startRegions(ctx context.Context, e *Env, link *relay) (*regions, error) {
	first, err := startRegion(ctx, e, RegionConfig{Name: "eu", Dir: e.Dir + "/eu"}, core(0))
	if err != nil {
		return nil, err
	}
	config := secondConfig(e, first)
	if link != nil {
		if config.Listen, err = freeAddress("127.0.0.1"); err != nil {
			return nil, errors.Join(err, first.kill())
		}
		link.to(config.Listen)
		config.Advertise = link.address()
	}
	second, err := startRegion(ctx, e, config, core(1))
	if err != nil {
		return nil, errors.Join(err, first.kill())
	}
	return &regions{first, second}, nil
}

// core is what the n-th region is pinned to; nothing where there are too few cores or no taskset.
func core(n int) string {
	if _, err := exec.LookPath("taskset"); err != nil || n >= runtime.NumCPU() {
		return ""
	}
	return strconv.Itoa(n)
}

func secondConfig(e *Env, first *process) RegionConfig {
	return RegionConfig{Name: "us", Dir: e.Dir + "/us", Join: []string{first.ready.Peer}}
}

// freeAddress finds a port of a host of loopback that nobody listens on now. The region needs to know it before
// it starts, as it is reached through a relay while it joins.
func freeAddress(host string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// run has the first region add while the second watches.
func (r *regions) run(q request) (added, seen reply, err error) {
	w := request{Do: "watch", Region: r.first.ready.Region, Seconds: q.Seconds + 2*watchLead.Seconds()}
	failed := make(chan error, 1)
	go func() {
		var err error
		seen, err = r.second.ask(w, seconds(w.Seconds)+patience)
		failed <- err
	}()
	timer := time.NewTimer(watchLead)
	defer timer.Stop()
	<-timer.C
	added, err = r.first.ask(q, seconds(q.Seconds)+patience)
	return added, seen, errors.Join(err, <-failed)
}

// replicationStream: how fast a second region follows, and how far behind it is.
func replicationStream(ctx context.Context, e *Env) (figures []Figure, err error) {
	r, err := startRegions(ctx, e, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.quit()) }()
	q := request{Do: "add", Keys: e.Keys, Goroutines: saturating, Seconds: e.Sustain.Seconds()}
	added, seen, err := r.run(q)
	if err != nil {
		return nil, err
	}
	figures = append(figures, followed(e, added, seen))

	q.Rate = float64(added.Done) / added.Seconds / 2
	if _, err := r.second.ask(request{Do: "reach", Region: r.first.ready.Region, Time: added.lastCommit()}, patience); err != nil {
		return figures, err
	}
	if added, seen, err = r.run(q); err != nil {
		return figures, err
	}
	return append(figures, delayed(added, seen)...), nil
}

// followed compares what the second region had exposed when the first one's run ended.
func followed(e *Env, added, seen reply) Figure {
	end := added.Progress[len(added.Progress)-1]
	applied := added.countUpTo(seen.exposedAt(end.At))
	f := Figure{
		What:  fmt.Sprintf("applied by a second region of what a saturated first one commits, %s", e.Sustain),
		Unit:  "adds/s",
		Ours:  float64(applied) / added.Seconds,
		Limit: float64(added.Done) / added.Seconds, Rounds: 1, Goal: atLeast(0.8),
		Note: fmt.Sprintf("what the first region commits with %d durable callers; each region and its load on one core", saturating),
	}
	f.Ratio = f.Ours / f.Limit
	f.Low, f.High = f.Ratio, f.Ratio
	return f
}

func (r *reply) lastCommit() clock.Timestamp {
	if len(r.Progress) == 0 {
		return 0
	}
	return r.Progress[len(r.Progress)-1].Time
}

// countUpTo is how many commits lie at or below t, as far as the progress tells.
func (r *reply) countUpTo(t clock.Timestamp) int64 {
	i := sort.Search(len(r.Progress), func(i int) bool { return r.Progress[i].Time > t })
	if i == 0 {
		return 0
	}
	return r.Progress[i-1].Count
}

// exposedAt is what was exposed at a moment.
func (r *reply) exposedAt(at int64) clock.Timestamp {
	i := sort.Search(len(r.Rises), func(i int) bool { return r.Rises[i].At > at })
	if i == 0 {
		return 0
	}
	return r.Rises[i-1].Time
}

// delayed measures the time from a commit's answer in the first region to its visibility in the
// second.
func delayed(added, seen reply) []Figure {
	h, missing := delays(added.Commits, seen.Rises)
	ms := func(q float64) float64 { return milliseconds(h.Quantile(q)) }
	note := fmt.Sprintf("at %s adds/s, half of what saturates; over loopback; looked at every %s, and the machine let these looks come late by %s ms at p99",
		number(float64(added.Done)/added.Seconds), watchEvery, number(seen.Late))
	if missing > 0 {
		note += fmt.Sprintf("; %d of %d were not seen in time", missing, len(added.Commits))
	}
	median := alone("delay from commit to visibility in a second region, median", "ms", ms(0.5), atMostOurs(2), note)
	p99 := alone("delay from commit to visibility in a second region, p99", "ms", ms(0.99), atMostOurs(10), note)
	return []Figure{median, p99}
}

// delays pairs each commit with the first rise that includes it. A commit that none includes counts
// with the time until the last rise, and as missing.
func delays(commits, rises []point) (h *load.Histogram, missing int) {
	h = new(load.Histogram)
	commits = slices.Clone(commits)
	slices.SortFunc(commits, func(a, b point) int { return order(a.Time, b.Time) })
	i := 0
	for _, c := range commits {
		for i < len(rises) && rises[i].Time < c.Time {
			i++
		}
		if i < len(rises) {
			h.Record(time.Duration(rises[i].At - c.At))
			continue
		}
		missing++
		if len(rises) > 0 {
			h.Record(time.Duration(rises[len(rises)-1].At - c.At))
		}
	}
	return h, missing
}

func order(a, b clock.Timestamp) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// replicationBytes: bytes at the socket between two regions, both directions, with nothing but adds.
func replicationBytes(ctx context.Context, e *Env) (figures []Figure, err error) {
	link, err := newRelay()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, link.close()) }()
	r, err := startRegions(ctx, e, link)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.quit()) }()
	for _, fresh := range []bool{true, false} {
		q := request{Do: "add", Keys: e.Keys, Goroutines: saturating, Seconds: min(e.Sustain, 10*time.Second).Seconds(), Fresh: fresh}
		f, err := r.bytesPerAdd(link, q)
		if err != nil {
			return figures, err
		}
		figures = append(figures, f)
	}
	return figures, nil
}

func (r *regions) bytesPerAdd(link *relay, q request) (Figure, error) {
	before := link.bytes.Load()
	added, err := r.first.ask(q, seconds(q.Seconds)+patience)
	if err != nil {
		return Figure{}, err
	}
	if _, err := r.second.ask(request{Do: "reach", Region: r.first.ready.Region, Time: added.lastCommit()}, patience); err != nil {
		return Figure{}, err
	}
	bytes := float64(link.bytes.Load()-before) / float64(added.Done)
	if bytes == 0 {
		return Figure{}, errors.New("bench: the stream between the regions does not go through the relay")
	}
	what, goal := fmt.Sprintf("%d-byte keys of random bytes, each used once", keySize), atMostOurs(2*keySize+8)
	if !q.Fresh {
		what, goal = fmt.Sprintf("%s keys of %d bytes that are alike", number(float64(q.Keys)), keySize), Goal{}
	}
	return alone("bytes at the socket a counter add, busy stream, "+what, "bytes", bytes, goal,
		"both directions of the stream between two regions, at the socket"), nil
}

// catchUp: a region that was away for many transactions.
func catchUp(ctx context.Context, e *Env) (figures []Figure, err error) {
	r, err := startRegions(ctx, e, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.quit()) }()
	if err := r.second.quit(); err != nil {
		return nil, err
	}
	added, err := r.first.ask(request{Do: "add", Keys: e.Keys, Goroutines: saturating, Count: int64(e.Adds), Applied: true}, 10*time.Minute)
	if err != nil {
		return nil, err
	}
	config := secondConfig(e, r.first)
	config.Listen = r.second.ready.Peer // where the first looks for it
	begun := time.Now()
	again, err := startRegion(ctx, e, config, core(1))
	if err != nil {
		return nil, err
	}
	r.second = again
	var took [2]time.Duration // until the first of them was seen, and until the last was
	for i, t := range []clock.Timestamp{1, added.lastCommit()} {
		if _, err := r.second.ask(request{Do: "reach", Region: r.first.ready.Region, Time: t}, 10*time.Minute); err != nil {
			return nil, err
		}
		took[i] = time.Since(begun)
	}
	ours := float64(added.Done) / took[1].Seconds()
	bare, err := bareAdds(ctx, e)
	f := Figure{
		What: fmt.Sprintf("catching up %s missed transactions", number(float64(added.Done))), Unit: "adds/s",
		Ours: ours, Limit: bare, Ratio: ours / bare, Low: ours / bare, High: ours / bare, Rounds: 1, Goal: atLeast(0.3),
		Note: fmt.Sprintf("bare Pebble committing the same bytes, not synced, 8 goroutines; ours on one core, from the start of the process: "+
			"%s s until the first was seen, %s s until the last was", number(took[0].Seconds()), number(took[1].Seconds())),
	}
	return one(f, err)
}

// bareAdds is what bare Pebble commits, not synced, through 8 goroutines.
func bareAdds(ctx context.Context, e *Env) (rate float64, err error) {
	t, err := newTheirs(counterKeys(e.Keys))
	if err != nil {
		return 0, err
	}
	store, err := limits.OpenStore(e.Dir+"/limit", limits.Sizes{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	p := &pair{store: store, theirs: t, keys: counterKeys(e.Keys)}
	var rates []float64
	for range e.Rounds {
		rate, err := p.theirsAdd(e, 8, false)(ctx)
		if err != nil {
			return 0, err
		}
		rates = append(rates, rate)
	}
	return median(rates), nil
}
