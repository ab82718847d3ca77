package workload

import (
	"math/rand/v2"
	"sync"

	"github.com/theriac-db/theriac/client"
)

// kept is how many tokens and names the workers keep for one another.
const kept = 16

// shared is what the workers of a run tell one another, as services do in messages of their own.
type shared struct {
	mu      sync.Mutex
	lanes   map[string]told // region to what it told last
	tokens  []client.Token
	notices []string // names of what was written
}

// learnLane keeps what a region told.
func (s *shared) learnLane(region string, r *client.Receipt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lanes == nil {
		s.lanes = map[string]told{}
	}
	s.lanes[region] = told{client.Attempt{Lane: r.Lane, After: r.Reading()}, true}
}

func (s *shared) toldBy(region string) told {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lanes[region]
}

// handOver offers a token to the others.
func (s *shared) handOver(t client.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = last(append(s.tokens, t))
}

// handedOver draws one of the tokens.
func (s *shared) handedOver(r *rand.Rand) client.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.tokens) == 0 {
		return client.Token{}
	}
	return s.tokens[r.IntN(len(s.tokens))]
}

// forgetHanded drops the tokens: one of them named what is lost.
func (s *shared) forgetHanded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = nil
}

// post tells the others of something.
func (s *shared) post(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notices = last(append(s.notices, name))
}

// notice draws one of the last notices.
func (s *shared) notice(r *rand.Rand) (name string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.notices) == 0 {
		return "", false
	}
	return s.notices[r.IntN(len(s.notices))], true
}

// last cuts a list to its last elements.
func last[T any](list []T) []T {
	if extra := len(list) - kept; extra > 0 {
		return append(list[:0], list[extra:]...)
	}
	return list
}
