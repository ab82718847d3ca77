package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/memtransport"
)

// world is a cluster in memory whose regions lose their power over and over.
type world struct {
	*Cuts
	seed    uint64
	random  *rand.Rand // of the goroutine that runs the world
	network *memtransport.Network
	time    replication.Time
	sites   []*site
	book    *Book
	history history
	cycle   int
	cuts    int

	memTable int64
	logAge   time.Duration

	drawing sync.Mutex
	drawn   *rand.Rand // of the nodes
}

func newWorld(c *Cuts, seed uint64) *world {
	random := rand.New(rand.NewPCG(seed, 3))
	clock := replication.SystemTime()
	return &world{
		Cuts: c, seed: seed, random: random, network: memtransport.New(clock), time: clock, book: NewBook(),
		memTable: 16 << 10 << random.IntN(3), logAge: []time.Duration{time.Second, time.Hour}[random.IntN(2)],
		drawn: rand.New(rand.NewPCG(seed, 4)),
	}
}

// draw is the randomness of the nodes.
func (w *world) draw() uint64 {
	w.drawing.Lock()
	defer w.drawing.Unlock()
	return w.drawn.Uint64()
}

func (w *world) site(name string) *site {
	i := slices.IndexFunc(w.sites, func(s *site) bool { return s.name == name })
	return w.sites[i]
}

func (w *world) names() []string { return w.others(nil) }

func (w *world) others(s *site) []string {
	var out []string
	for _, o := range w.sites {
		if o != s {
			out = append(out, o.name)
		}
	}
	return out
}

// chance is whether something happens once in n times.
func (w *world) chance(n int) bool { return w.random.IntN(n) == 0 }

// add makes a region, which is off.
func (w *world) add(name string) *site {
	s := newSite(w, name)
	w.sites = append(w.sites, s)
	return s
}

// cut counts a cut.
func (w *world) cut(s *site, what string) {
	s.log.note("power cut: %s; %d%% of what is not synced survives", what, s.run.percent)
	w.cuts++
	w.Tally.Add("cuts", 1)
	w.Tally.Add("cuts: "+what, 1)
}

// longestStart bounds a start, in simulated time.
const longestStart = 2 * time.Minute

// switchOn starts a region until it serves. If the shot is early the power is cut meanwhile, and perhaps
// again while what that left is opened.
func (w *world) switchOn(ctx context.Context, s *site, early *shot) error {
	for depth := 0; ; depth++ {
		limited, cancel := context.WithTimeout(ctx, longestStart)
		err := s.start(limited, w.others(s), early)
		cancel()
		if !s.run.isCut() {
			if err != nil {
				return fmt.Errorf("%s does not start: %w", s.name, err)
			}
			s.run.mu.Lock()
			s.run.armed = nil
			s.run.mu.Unlock()
			return nil
		}
		w.cut(s, early.name)
		if depth > 0 {
			w.Tally.Add("cuts: while what a cut in opening had left was opened", 1)
		}
		s.bury()
		if depth == maxDepth || w.chance(2) {
			early = nil
		}
	}
}

// maxDepth bounds how often in a row a start is cut.
const maxDepth = 4

// begin starts the load of a region.
func (w *world) begin(ctx context.Context, s *site, bulky, lasting bool) (removing <-chan struct{}, err error) {
	status, err := s.db.Status(ctx)
	if err != nil {
		return nil, err
	}
	told := make(chan struct{}, 1)
	over, cancel := context.WithCancel(ctx)
	s.end = cancel
	slowest := 30 * time.Millisecond
	if lasting {
		slowest = time.Second
	}
	s.load = &Load{
		target: Target{
			Region: s.name, DB: s.db, Patient: s.db, Status: status, Padding: 1 << 10,
			First: func(id client.OpID) client.CallOption {
				return client.WithAttempt(client.Attempt{ID: id, Incarnation: status.Incarnation})
			},
			Pause: func(ctx context.Context, random *rand.Rand) { pause(ctx, time.Duration(random.Int64N(int64(slowest)))) },
		},
		book: w.book, tally: w.Tally, cycle: w.cycle, seed: w.seed, bulky: bulky, lasting: lasting,
		removing: func() {
			select {
			case told <- struct{}{}:
			default:
			}
		},
	}
	s.load.Start(over)
	return told, nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// longestLoad is when a shot is given up that does not come, in simulated time: the power is cut then.
const longestLoad = 300 * time.Millisecond

// shoot lets a region work until a shot hits it.
func (w *world) shoot(ctx context.Context, s *site, what shot) error {
	removing, err := w.begin(ctx, s, what.name == shotRemoval || w.chance(12), what.lasts())
	if err != nil {
		return err
	}
	name := what.name
	switch what.name {
	case shotTime:
		w.wait(s, nil, time.Duration(w.random.Int64N(int64(2*longestLoad))))
	case shotRemoval:
		w.wait(s, removing, time.Second)
		s.run.arm(what)
		w.wait(s, nil, longestLoad)
	case shotTruncation:
		w.wait(s, nil, 10*time.Second+time.Duration(w.random.Int64N(int64(10*time.Second))))
		s.run.arm(what)
		s.run.node.TruncateLog(ctx)
		w.wait(s, nil, longestLoad)
	case shotStop:
		w.wait(s, nil, longestLoad/4)
		s.run.arm(what)
		if err := s.run.node.Close(ctx); err != nil && !s.run.isCut() {
			return fmt.Errorf("stopping %s: %w", s.name, err)
		}
		s.run.node = nil
	default:
		s.run.arm(what)
		w.wait(s, nil, longestLoad)
	}
	if !s.run.isCut() && what.name != shotTime {
		name = "a moment that was not aimed at"
	}
	s.run.cutNow()
	w.cut(s, name)
	return nil
}

// wait waits for a cut, for done if that is not nil, or for as long as it is told.
func (w *world) wait(s *site, done <-chan struct{}, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-s.run.cut:
	case <-done:
	case <-timer.C:
	}
}

// healthy says what is wrong with a region that has started.
func (w *world) healthy(ctx context.Context, s *site) error {
	if err := s.run.gaveUp(); err != nil {
		return fmt.Errorf("%s gave up: %w", s.name, err)
	}
	status, err := s.db.Status(ctx)
	if err != nil {
		return err
	}
	if status.State != "serving" {
		return fmt.Errorf("%s is not serving: %s", s.name, status.State)
	}
	return nil
}

// verify judges what was told before, while nobody writes.
func (w *world) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, longestStart)
	defer cancel()
	var wrong []string
	var visits []*Visit
	for _, s := range w.sites {
		if s.load != nil {
			s.end()
			said, its := s.load.Wait()
			wrong, visits = append(wrong, said...), append(visits, its...)
			s.load = nil
		}
		if err := w.healthy(ctx, s); err != nil {
			return errors.Join(err, wrongly(wrong))
		}
	}
	token, err := w.converge(ctx)
	if err != nil {
		return err
	}
	j := &judge{book: w.book, tally: w.Tally, history: &w.history, random: w.random, token: token, regions: w.names(),
		db: func(name string) *client.DB { return w.site(name).db }}
	said, err := j.settle(ctx, w.sites[0].name, visits)
	if err != nil {
		return errors.Join(err, wrongly(said))
	}
	wrong = append(wrong, said...)
	for _, s := range w.sites[1:] {
		r, err := survey(ctx, s.db, client.WithToken(token))
		if err != nil {
			return fmt.Errorf("reading everything in %s: %w", s.name, err)
		}
		for _, said := range w.book.Compare(r) {
			wrong = append(wrong, "in "+s.name+": "+said)
		}
	}
	w.Tally.Add("verifications", 1)
	return wrongly(wrong)
}

// converge returns a token that includes what every region shows.
func (w *world) converge(ctx context.Context) (client.Token, error) {
	var all client.Token
	for _, s := range w.sites {
		var receipt client.Receipt
		if _, err := s.db.Do(ctx, nil, nil, client.Durable(client.Applied), client.WithReceipt(&receipt)); err != nil {
			return all, fmt.Errorf("asking %s: %w", s.name, err)
		}
		var err error
		if all, err = all.Join(receipt.Token); err != nil {
			return all, err
		}
	}
	return all, nil
}

// close ends all that runs.
func (w *world) close() {
	for _, s := range w.sites {
		if s.run != nil {
			s.bury()
		}
		if s.load != nil {
			s.load.Wait()
		}
	}
}
