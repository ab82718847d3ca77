package certify_test

import (
	"slices"
	"strings"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/certify"
)

// universe is every key that the tests write: all words over two letters, up to three letters long.
// Any two accesses made of such words that overlap have one of these keys in common.
var universe = func() (keys []string) {
	for words := []string{""}; len(words[0]) < 3; {
		var longer []string
		for _, w := range words {
			longer = append(longer, w+"a", w+"b")
		}
		keys = append(keys, longer...)
		words = longer
	}
	return keys
}()

// keysOf enumerates what an access touches.
func keysOf(a certify.Access) (keys []string) {
	for _, k := range universe {
		if k == string(a.Key) || a.Prefix && strings.HasPrefix(k, string(a.Key)) {
			keys = append(keys, k)
		}
	}
	return keys
}

// model is the certifier as a history: it remembers every commit with all keys that it wrote, every
// decision and every id, and searches them all each time.
type model struct {
	commits  []commit
	lives    map[clock.Region]uint64
	gone     map[clock.Region]bool
	decided  map[name]certify.Decision
	answered map[certify.Proposer]uint64
	ids      map[kv.OpID]certify.Decision
	commands int
}

type name struct {
	certify.Proposer
	number uint64
}

type commit struct {
	time clock.Timestamp
	keys []string
}

func newModel() *model {
	return &model{lives: map[clock.Region]uint64{}, gone: map[clock.Region]bool{}, decided: map[name]certify.Decision{},
		answered: map[certify.Proposer]uint64{}, ids: map[kv.OpID]certify.Decision{}}
}

func (m *model) last() clock.Timestamp {
	if len(m.commits) == 0 {
		return 0
	}
	return m.commits[len(m.commits)-1].time
}

// wrote is the newest commit that wrote where an access is.
func (m *model) wrote(a certify.Access) (newest clock.Timestamp) {
	for _, k := range keysOf(a) {
		for _, c := range m.commits {
			if slices.Contains(c.keys, k) {
				newest = max(newest, c.time)
			}
		}
	}
	return newest
}

// checked are the accesses that must not have changed since the snapshot.
func checked(p *certify.Proposal) (accesses []certify.Access) {
	accesses = append(accesses, p.Reads...)
	for _, w := range p.Writes {
		if w.Covers {
			accesses = append(accesses, w.Access)
		}
	}
	return accesses
}

// conflict is the newest commit that a transaction has not seen and must have seen, 0 for none.
func (m *model) conflict(p *certify.Proposal) (newest clock.Timestamp) {
	for _, a := range checked(p) {
		if t := m.wrote(a); t > p.Snapshot.At(0) {
			newest = max(newest, t)
		}
	}
	return newest
}

// decide says what a certifier of unbounded memory decides, and remembers it.
func (m *model) decide(p *certify.Proposal) certify.Decision {
	if p.Kind == certify.KindBegin {
		return m.begin(p)
	}
	if m.lives[p.Region] != p.Incarnation {
		return certify.Decision{Verdict: certify.Ended, Current: m.lives[p.Region]}
	}
	m.answered[p.Proposer] = max(m.answered[p.Proposer], p.Answered)
	if p.Number <= m.answered[p.Proposer] {
		return certify.Decision{Verdict: certify.Answered}
	}
	n := name{p.Proposer, p.Number}
	if d, found := m.decided[n]; found {
		d.Repeated = true
		return d
	}
	d := m.first(p)
	m.decided[n] = d
	return d
}

func (m *model) begin(p *certify.Proposal) certify.Decision {
	current := m.lives[p.Region]
	switch {
	case m.gone[p.Region] || current != p.Incarnation && current != p.Ends:
		return certify.Decision{Verdict: certify.Ended, Current: current}
	case current == p.Incarnation:
		return certify.Decision{Verdict: certify.Begun, Repeated: true}
	}
	m.lives[p.Region] = p.Incarnation
	return certify.Decision{Verdict: certify.Begun}
}

func (m *model) first(p *certify.Proposal) certify.Decision {
	if p.Snapshot.At(0) > m.last() || p.After > max(m.last(), 1) {
		return certify.Decision{Verdict: certify.Invalid}
	}
	if p.Kind == certify.KindCommand {
		done := command(p.Body, m.commands)
		m.commands++
		for _, region := range done.Ends {
			m.gone[region] = true
			delete(m.lives, region)
		}
		d := certify.Decision{Verdict: certify.Done, Answer: done.Answer}
		if done.Commits {
			d.Time, d.Prev = max(m.last(), p.Snapshot.Max())+1, m.last()
			m.commits = append(m.commits, commit{time: d.Time})
		}
		return d
	}
	if d, found := m.ids[p.ID]; found {
		return certify.Decision{Verdict: d.Verdict, Repeated: true, Time: d.Time}
	}
	d := certify.Decision{Verdict: certify.Denied}
	if p.Kind == certify.KindTransaction {
		d = m.transaction(p)
	}
	if !p.ID.IsZero() && d.Verdict != certify.Aborted {
		m.ids[p.ID] = d
	}
	return d
}

func (m *model) transaction(p *certify.Proposal) certify.Decision {
	if t := m.conflict(p); t != 0 {
		return certify.Decision{Verdict: certify.Aborted, Conflict: certify.Conflict{Time: t}}
	}
	c := commit{time: max(m.last(), p.Snapshot.Max()) + 1}
	for _, w := range p.Writes {
		c.keys = append(c.keys, keysOf(w.Access)...)
	}
	d := certify.Decision{Verdict: certify.Committed, Time: c.time, Prev: m.last()}
	m.commits = append(m.commits, c)
	return d
}

// command is what the tests' commands do: the answer tells how many there were, a command that begins with "end"
// ends the region named by the byte behind it, and one that begins with "drop" commits.
func command(body []byte, before int) certify.Decided {
	d := certify.Decided{Answer: append([]byte{byte(before)}, body...), Commits: strings.HasPrefix(string(body), "drop")}
	if region, found := strings.CutPrefix(string(body), "end"); found {
		d.Ends = []clock.Region{clock.Region(region[0])}
	}
	return d
}

// metadata hands the tests' commands to a certifier. Keys that begin with its gone letter exist no more.
type metadata struct {
	before int
	gone   string
}

func (m *metadata) Check(body []byte) error {
	if len(body) == 0 {
		return kv.ErrCorrupt
	}
	return nil
}

func (m *metadata) Decide(body []byte, _ clock.Timestamp) certify.Decided {
	m.before++
	return command(body, m.before-1)
}

func (m *metadata) Drops(body []byte) kv.BucketDrop {
	return kv.BucketDrop{Bucket: kv.Bucket(body), Generation: 1}
}

func (m *metadata) Exists(a certify.Access) bool {
	return m.gone == "" || !strings.HasPrefix(string(a.Key), m.gone)
}

func (m *metadata) AppendSnapshot(dst []byte) []byte { return append(dst, byte(m.before)) }

func (m *metadata) Restore(snapshot []byte) error {
	if len(snapshot) != 1 {
		return kv.ErrCorrupt
	}
	m.before = int(snapshot[0])
	return nil
}
