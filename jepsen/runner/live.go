package runner

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/jepsen/history"
)

// progressEvery is how often Config.Progress is told.
const progressEvery = time.Second

// live is what is known of a run while it lasts.
type live struct {
	tell              func(Progress)
	begun             time.Time
	limit             time.Duration
	ok, fail, unknown atomic.Int64

	mu      sync.Mutex
	current string
	loading time.Time // when the load began
	faults  []string

	quit    chan struct{}
	telling sync.WaitGroup
}

func newLive(p *planned) *live {
	l := &live{tell: p.Progress, begun: time.Now(), limit: p.TimeLimit, quit: make(chan struct{})}
	if l.tell == nil {
		return l
	}
	l.telling.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.tell(l.now())
			case <-l.quit:
				return
			}
		}
	})
	return l
}

func (l *live) stop() {
	close(l.quit)
	l.telling.Wait()
}

// step says what the run does now.
func (l *live) step(name string) {
	l.mu.Lock()
	l.current = name
	if name == "load" {
		l.loading = time.Now()
	}
	l.mu.Unlock()
	if l.tell != nil {
		l.tell(l.now())
	}
}

func (l *live) now() Progress {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := Progress{Step: l.current, Elapsed: elapsed(l.begun), OK: l.ok.Load(), Fail: l.fail.Load(), Unknown: l.unknown.Load(),
		Faults: slices.Clone(l.faults)}
	if !l.loading.IsZero() {
		p.TimeLeft = max(l.limit-time.Since(l.loading), 0)
	}
	return p
}

func (l *live) observe(t *history.Txn) {
	switch t.Outcome {
	case history.OK:
		l.ok.Add(1)
	case history.Fail:
		l.fail.Add(1)
	default:
		l.unknown.Add(1)
	}
}

// fault notes one that is under way until what it returns is called.
func (l *live) fault(text string) (over func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, text)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if i := slices.Index(l.faults, text); i >= 0 {
			l.faults = slices.Delete(l.faults, i, i+1)
		}
	}
}
