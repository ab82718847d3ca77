package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/clock"
)

// Target is where a load goes: one region, and how operations on it are named.
type Target struct {
	Region string
	// DB gives up at once when its node does; Patient tries again until the node is back. Without patience
	// both are the same.
	DB, Patient *client.DB
	// First names the first try of an operation.
	First func(id client.OpID) client.CallOption
	// Status is what the node said of itself before the load began.
	Status client.Status
	// Padding is the size of a large register, in bytes, so that tables are written soon: some tens of them
	// fill a memtable.
	Padding int
	// Pause is between two calls of a writer. Nil: none.
	Pause func(ctx context.Context, random *rand.Rand)
}

// where is how to ask for the outcome of an entry.
type where struct {
	region string
	id     client.OpID
	lane   clock.Lane
	after  clock.Timestamp
	begun  time.Time
}

// attempt is what another process names that asks for the outcome.
func (w where) attempt() client.CallOption {
	return client.WithAttempt(client.Attempt{ID: w.id, Retry: true, Age: time.Since(w.begun), Lane: w.lane, After: w.after})
}

// Load is the work of all writers from one start of a node to its end.
type Load struct {
	target Target
	book   *Book
	tally  *Tally
	cycle  int // number within the life of the database
	seed   uint64
	bulky  bool // the cleaner fills and removes large sets
	// lasting is for loads that last: the log may be gone by the time that the outcome of what was done last
	// is asked for, so that only marks tell.
	lasting bool
	// removing is told when the removal of a large set is sent. It must not block.
	removing func()

	mu     sync.Mutex
	wrong  []string
	visits []*Visit
	over   context.Context // of new calls
	done   sync.WaitGroup
}

// complain notes what no crash explains.
func (l *Load) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
}

// roles are what writers do. Each writer has one.
var roles = []struct {
	name string
	step func(w *writer, ctx context.Context) error
}{
	{"local", (*writer).single},
	{"patient", (*writer).single},
	{"txn", (*writer).transaction},
	{"interactive", (*writer).interactive},
	{"applied", (*writer).applied},
	{"hasty", (*writer).hasty},
	{"elements", (*writer).elements},
	{"cleaner", (*writer).clean},
	{"reader", (*writer).read},
}

// Start starts one writer for each role. They begin nothing new once ctx ends.
func (l *Load) Start(ctx context.Context) {
	l.over = ctx
	for i, role := range roles {
		w := &writer{Load: l, role: role.name, name: l.target.Region + "-" + role.name,
			random: rand.New(rand.NewPCG(l.seed, uint64(l.cycle)<<8|uint64(i)))}
		db := l.target.DB
		if role.name == "patient" {
			db = l.target.Patient
		}
		w.session = db.Session()
		l.done.Go(func() { w.run(role.step) })
	}
}

// Wait waits until all calls have ended, and returns what was wrong with them and the sessions.
func (l *Load) Wait() ([]string, []*Visit) {
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wrong, l.visits
}

// writer is one client.
type writer struct {
	*Load
	role, name string
	random     *rand.Rand
	session    *client.Session
	visit      Visit
	calls      int
	left       int64 // of the counter that readers watch
	gone       bool  // the writer goes on no more: the outcome of a call is unknown
}

// patience bounds calls and waits: a node is back long before it, also on a machine with much else to do.
const patience = 5 * time.Minute

func (w *writer) run(step func(*writer, context.Context) error) {
	for w.over.Err() == nil && !w.gone {
		ctx, cancel := w.limited()
		err := step(w, ctx)
		cancel()
		if err != nil && !excused(err) {
			w.complain("%s: %v", w.name, err)
			break
		}
		if err != nil {
			w.gone = w.gone || w.role != "hasty"
			w.tally.Add("calls that failed", 1)
		}
		if w.target.Pause != nil && !w.gone {
			w.target.Pause(w.over, w.random)
		}
	}
	w.visit.Region, w.visit.Token = w.target.Region, w.session.Token().String()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.visits = append(w.visits, &w.visit)
}

// limited is the context of one call. Only a patient writer's calls outlive the load.
func (w *writer) limited() (context.Context, context.CancelFunc) {
	switch w.role {
	case "patient":
		return context.WithTimeout(context.WithoutCancel(w.over), patience)
	case "hasty":
		return context.WithTimeout(w.over, time.Duration(200+w.random.IntN(3000))*time.Microsecond)
	}
	return context.WithTimeout(w.over, patience)
}

// excused are errors that a crash, or the end of a call's time, explains.
func excused(err error) bool {
	return errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrDeadline) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// promised is what an answer to a write says.
func promised(err error, applied bool) Promise {
	switch {
	case err == nil && applied:
		return Shown
	case err == nil:
		return Kept
	case client.OutcomeOf(err) == client.OutcomeNotApplied:
		return Refused
	}
	return Unsure
}

// send enters a transaction and sends it by do, which gets the options that name it.
func (w *writer) send(effects []Effect, applied bool, do func(opts []client.CallOption) error) error {
	id := client.NewOpID()
	e := &Entry{ID: id.String(), Writer: w.name, Effects: effects, Where: where{
		region: w.target.Region, id: id, lane: w.target.Status.Lane, after: w.target.Status.Reading(), begun: time.Now(),
	}}
	opts := []client.CallOption{w.target.First(id)}
	if applied {
		opts = append(opts, client.Durable(client.Applied))
	}
	w.book.Begin(e)
	err := do(opts)
	p := promised(err, applied)
	w.book.Told(e, p)
	w.tally.Add("transactions told "+p.String(), 1)
	if p == Kept || p == Shown {
		w.visit.Entries = append(w.visit.Entries, e)
	}
	if p == Unsure && w.role != "hasty" {
		w.gone = true // its places must rest until the outcome is known
	}
	return err
}

// objects is what sessions and transactions have in common.
type objects interface {
	Counter(name string) client.Counter
	Register(name string) client.Register
	MVRegister(name string) client.MVRegister
	Flag(name string) client.Flag
	FlagDW(name string) client.Flag
	Set(name string) client.Set
	SetRW(name string) client.Set
	SetGO(name string) client.GrowSet
	Map(name string) client.Map
}

// perform does what an effect says.
func perform(ctx context.Context, in objects, f Effect, opts ...client.CallOption) error {
	kind, name, _ := strings.Cut(f.Place.Object, " ")
	put := f.Deed == Put
	switch {
	case f.Deed == Clear:
		return handle(in, kind, name).Delete(ctx, opts...)
	case f.Deed == Add:
		return in.Counter(name).Add(ctx, f.N, opts...)
	case kind == "register":
		return in.Register(name).SetString(ctx, f.Text, opts...)
	case kind == "mv":
		return in.MVRegister(name).SetString(ctx, f.Text, opts...)
	case kind == "go":
		return in.SetGO(name).Add(ctx, f.Place.Part, opts...)
	case kind == "set" && put:
		return in.Set(name).Add(ctx, f.Place.Part, opts...)
	case kind == "set":
		return in.Set(name).Remove(ctx, f.Place.Part, opts...)
	case kind == "setrw" && put:
		return in.SetRW(name).Add(ctx, f.Place.Part, opts...)
	case kind == "setrw":
		return in.SetRW(name).Remove(ctx, f.Place.Part, opts...)
	case kind == "flag" && put:
		return in.Flag(name).Enable(ctx, opts...)
	case kind == "flag":
		return in.Flag(name).Disable(ctx, opts...)
	case kind == "flagdw" && put:
		return in.FlagDW(name).Enable(ctx, opts...)
	case kind == "flagdw":
		return in.FlagDW(name).Disable(ctx, opts...)
	case kind == "map" && put:
		return in.Map(name).Map("inner").Register(f.Place.Part).SetString(ctx, f.Text, opts...)
	case kind == "map":
		return in.Map(name).Map("inner").Remove(ctx, f.Place.Part, client.TypeRegisterLWW, opts...)
	}
	panic(fmt.Sprintf("torture: no effect %+v", f))
}

func handle(in objects, kind, name string) client.Handle {
	switch kind {
	case "go":
		return in.SetGO(name).Handle
	case "set":
		return in.Set(name).Handle
	case "map":
		return in.Map(name).Handle
	}
	panic("torture: nobody clears a " + kind)
}

// all performs several effects.
func all(ctx context.Context, in objects, effects []Effect) error {
	for _, f := range effects {
		if err := perform(ctx, in, f); err != nil {
			return err
		}
	}
	return nil
}
