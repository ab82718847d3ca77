package replication

import (
	"context"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
)

// What a stream brings and is to be written down waits for a goroutine of its own: the stream is read
// meanwhile, however slow the disk is, so that nobody takes the peer for silent. Of each stream only the
// latest waits.

// news is what a stream has brought of the set of regions. Replicator.mu guards it.
type news struct {
	members  *peerv1.Members // a list; nil: none
	caughtUp bool            // the peer, which joins, has caught up
}

// heedLater notes news of a stream. What ends with it comes again: a list in the next hello, and a newcomer
// repeats what it says until it is counted as serving.
func (s *stream) heedLater(n news) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if n.members != nil {
		s.news.members = n.members
	}
	s.news.caughtUp = s.news.caughtUp || n.caughtUp
	poke(s.r.newsWake)
}

// heedNews acts on what streams bring, until ctx ends. An error ends the stream that brought it.
func (r *Replicator) heedNews(ctx context.Context) error {
	for {
		select {
		case <-r.newsWake:
		case <-ctx.Done():
			return nil
		}
		for s, n := range r.takeNews() {
			if err := r.heed(s, n); err != nil {
				s.fail(err)
			}
		}
	}
}

func (r *Replicator) takeNews() map[*stream]news {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[*stream]news{}
	for _, s := range r.streams {
		if s.news != (news{}) {
			out[s], s.news = s.news, news{}
		}
	}
	return out
}

func (r *Replicator) heed(s *stream, n news) error {
	if n.members != nil {
		if err := r.adoptMembers(n.members); err != nil {
			return err
		}
	}
	if n.caughtUp {
		return r.joined(s)
	}
	return nil
}
