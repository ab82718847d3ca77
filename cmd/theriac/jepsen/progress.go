package jepsen

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/theriac-db/theriac/jepsen/runner"
)

// plainEvery is how often progress is printed where no line can be drawn anew.
const plainEvery = 10 * time.Second

// progressLine shows how far a run is: one line that is drawn anew on a terminal, else a line now and then.
type progressLine struct {
	c     *commands
	title string
	limit time.Duration
	mu    sync.Mutex
	last  time.Duration
	step  string
	drawn bool
}

func (c *commands) progressLine(limit time.Duration) *progressLine {
	return &progressLine{c: c, limit: limit}
}

// show is told every second, and at each step.
func (l *progressLine) show(p runner.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.title + l.text(p)
	if l.c.Terminal {
		fmt.Fprintf(l.c.Err, "\r\x1b[K%s", cut(text, 160))
		l.drawn = true
		return
	}
	if p.Step != l.step || p.Elapsed-l.last >= plainEvery {
		l.step, l.last = p.Step, p.Elapsed
		fmt.Fprintln(l.c.Err, text)
	}
}

func (l *progressLine) text(p runner.Progress) string {
	if p.Step != "load" {
		return p.Step
	}
	text := fmt.Sprintf("%s of %s: %d acknowledged, %d not applied, %d of unknown outcome", (l.limit - p.TimeLeft).Round(time.Second), l.limit, p.OK, p.Fail, p.Unknown)
	if len(p.Faults) > 0 {
		text += "; " + strings.Join(strings.Fields(strings.Join(p.Faults, "; ")), " ")
	}
	return text
}

// end takes the line away.
func (l *progressLine) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drawn {
		fmt.Fprint(l.c.Err, "\r\x1b[K")
	}
}

// cut keeps a line on one line of a terminal, more or less.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
