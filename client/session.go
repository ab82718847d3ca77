package client

import (
	"sync"

	"github.com/theriac-db/theriac/internal/mutant"
)

// Session is a sequence of calls with guarantees between them: each sees what those before it saw
// and wrote, in whichever region it is served (read your writes, monotonic reads, monotonic
// writes). Calls at eventual level do not wait for it. A failed call is part of it as far as its error
// tells of the data: of a comparison that did not hold, or of an answer too large to send (Error.Token).
// A write whose outcome is unknown is not part of it. It is safe for concurrent use; of two calls at the
// same time neither waits for the other.
type Session struct {
	home
	mu    sync.Mutex
	token Token
}

func newSession(c *core, t Token) *Session {
	s := &Session{token: t}
	s.init(c, s)
	return s
}

// Token is what the session has seen so far. Pass it to Resume, here or in another process, or to
// WithToken.
func (s *Session) Token() Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// saw raises the token by what an answer included (invariant 1).
func (s *Session) saw(t Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	joined, err := s.token.Join(t)
	if err == nil && !mutant.On(mutant.SessionForgets) {
		s.token = joined
	}
	return err
}
