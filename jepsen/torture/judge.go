package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/theriac-db/theriac/client"
)

// history is what later verifications ask about again.
type history struct {
	entries []*Entry // settled
	visits  []*Visit
}

// maxRemembered bounds what a history keeps; the oldest go first.
const maxRemembered = 2000

// judge verifies one database after a crash, while nobody writes.
type judge struct {
	book    *Book
	tally   *Tally
	history *history
	random  *rand.Rand
	db      func(region string) *client.DB
	regions []string
	// token is what every region shows by now; zero: there is one region.
	token client.Token
}

// settle reads what a region shows, asks for the outcomes that are open, and judges. What is wrong with
// the database is returned as text; an error says that it does not answer.
func (j *judge) settle(ctx context.Context, region string, visits []*Visit) ([]string, error) {
	reading, err := survey(ctx, j.db(region), client.WithToken(j.token))
	if err != nil {
		return nil, fmt.Errorf("reading everything: %w", err)
	}
	j.tally.Add("places read", len(reading))
	entries := j.book.Unsettled()
	answers, err := j.ask(ctx, entries, reading)
	if err != nil {
		return nil, err
	}
	wrong := j.book.Settle(reading, answers)
	again, err := j.askAgain(ctx)
	if err != nil {
		return wrong, err
	}
	tokens, err := j.tokens(ctx, visits)
	j.remember(entries, visits)
	return append(append(wrong, again...), tokens...), err
}

// ask asks for every outcome that is not certain, and for some that are.
func (j *judge) ask(ctx context.Context, entries []*Entry, r Reading) (map[string]Fate, error) {
	answers := map[string]Fate{}
	for _, e := range entries {
		if j.random.IntN(askOneOf) > 0 && certain(e, r) {
			continue
		}
		w := e.Where.(where)
		answer, err := ask(ctx, j.db(w.region), w)
		if err != nil {
			return nil, err
		}
		answers[e.ID] = answer
		j.tally.Add("outcomes asked: "+answer.String(), 1)
	}
	return answers, nil
}

// askOneOf is of how many outcomes that are certain one is asked for all the same.
const askOneOf = 20

// certain reports whether the fate of an entry is known without asking. One of unknown outcome never is.
func certain(e *Entry, r Reading) bool {
	switch e.Promise {
	case Kept, Refused:
		return true
	case Shown:
		fate, _ := e.shown(r)
		return fate == Applied
	case Waiting, Unsure:
	}
	return false
}

// askAgain asks about operations that were settled before.
func (j *judge) askAgain(ctx context.Context) ([]string, error) {
	var wrong []string
	for range min(3, len(j.history.entries)) {
		e := j.history.entries[j.random.IntN(len(j.history.entries))]
		w := e.Where.(where)
		answer, err := ask(ctx, j.db(w.region), w)
		if err != nil {
			return nil, err
		}
		j.tally.Add("outcomes asked again", 1)
		wrong = append(wrong, j.book.Again(e.ID, answer)...)
	}
	return wrong, nil
}

// tokens uses the tokens of the sessions that the crash ended, and some of before, each in its region and in
// another one.
func (j *judge) tokens(ctx context.Context, visits []*Visit) ([]string, error) {
	var wrong []string
	for range min(2, len(j.history.visits)) {
		visits = append(visits, j.history.visits[j.random.IntN(len(j.history.visits))])
	}
	for _, v := range visits {
		regions := []string{v.Region}
		if other := j.regions[j.random.IntN(len(j.regions))]; other != v.Region {
			regions = append(regions, other)
		}
		for _, region := range regions {
			ok, err := honoured(ctx, j.db(region), v.Token)
			if err != nil {
				return wrong, fmt.Errorf("resuming a session of %s in %s: %w", v.Region, region, err)
			}
			if ok {
				j.tally.Add("tokens honoured", 1)
			} else {
				j.tally.Add("tokens lost", 1)
			}
			wrong = append(wrong, v.Judge(ok)...)
		}
	}
	return wrong, nil
}

func (j *judge) remember(entries []*Entry, visits []*Visit) {
	h := j.history
	h.entries = last(append(h.entries, entries...))
	h.visits = last(append(h.visits, visits...))
}

func last[T any](list []T) []T { return list[max(0, len(list)-maxRemembered):] }

// wrongly joins findings into an error; nil: there are none.
func wrongly(findings []string) error {
	if len(findings) == 0 {
		return nil
	}
	return fmt.Errorf("verification failed:\n  %s", strings.Join(atMost(findings), "\n  "))
}
