package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/client"
)

// folder is one database, and the node that is killed.
type folder struct {
	*Kills
	number  int
	dir     string // of all that is kept
	random  *rand.Rand
	log     *os.File
	book    *Book
	history history
	cycle   int
	node    *process
	address atomic.Pointer[string] // where the node serves clients

	impatient, patient *client.DB
	load               *Load // of the last start; nil: none runs
	endLoad            context.CancelFunc
}

// folder takes one database through its life.
func (k *Kills) folder(ctx context.Context, number int, aims []Aim) (err error) {
	f := &folder{Kills: k, number: number, dir: filepath.Join(k.Dir, fmt.Sprintf("seed-%d-folder-%d", k.Seed, number)), book: NewBook(),
		random: rand.New(rand.NewPCG(k.Seed, uint64(number)<<16|2))}
	if err := os.MkdirAll(f.dir, 0o750); err != nil {
		return err
	}
	if f.log, err = os.Create(filepath.Join(f.dir, "log")); err != nil {
		return err
	}
	k.Tally.Add("folders", 1)
	for _, aim := range aims {
		if over(k.Until) {
			break
		}
		if err = f.once(ctx, aim); err != nil {
			break
		}
		f.cycle++
	}
	if err == nil {
		err = f.last(ctx)
	}
	f.end()
	if err != nil {
		err = errors.Join(err, os.WriteFile(filepath.Join(f.dir, "book"), []byte(f.book.Dump()), 0o600))
		return fmt.Errorf("kill %d of the life of the folder that is kept in %s: %w", f.cycle, f.dir, err)
	}
	return os.RemoveAll(f.dir)
}

// end ends all that runs.
func (f *folder) end() {
	if f.node != nil && f.node.alive() {
		_ = f.node.kill()
	}
	f.stopLoad()
	for _, db := range []*client.DB{f.impatient, f.patient} {
		if db != nil {
			_ = db.Close()
		}
	}
	_ = f.log.Close()
}

func (f *folder) stopLoad() {
	if f.endLoad != nil {
		f.endLoad()
	}
}

// start starts the node.
func (f *folder) start() error {
	fmt.Fprintf(f.log, "--- start %d\n", f.cycle)
	age := "1h"
	if f.number%2 == 0 {
		age = "1s" // the log is truncated then
	}
	var err error
	f.node, err = spawn(f.Binary, []string{
		"serve", "--insecure", "--data", filepath.Join(f.dir, "data"), "--listen", "127.0.0.1:0",
		"--memtable-size", "1MiB", "--cache-size", "4MiB", "--leaf-cache-size", "1MiB", "--log-age", age, "--log-size", "64MiB",
	}, f.log)
	return err
}

// once starts the node, has it do what the aim is for, and kills it.
func (f *folder) once(ctx context.Context, aim Aim) error {
	watcher, err := f.watch(aim)
	if err != nil {
		return err
	}
	if watcher != nil {
		defer watcher.close()
	}
	if err := f.start(); err != nil {
		return err
	}
	if aim.Early {
		if aim.Name == AimReady {
			if _, err := f.ready(ctx); err != nil {
				return err
			}
		}
		return f.killAt(aim, watcher, nil)
	}
	if err := f.verify(ctx); err != nil {
		return err
	}
	removing := make(chan struct{}, 1)
	f.startLoad(ctx, aim, func() {
		select {
		case removing <- struct{}{}:
		default:
		}
	})
	if aim.Name == AimStop {
		f.pause(10 * time.Millisecond)
		if err := f.node.stop(); err != nil {
			return err
		}
	}
	return f.killAt(aim, watcher, removing)
}

// watch watches the folder for aims that need it. Before the first start there is none.
func (f *folder) watch(aim Aim) (*watcher, error) {
	data := filepath.Join(f.dir, "data")
	if _, err := os.Stat(filepath.Join(data, "data")); aim.Event == nil || err != nil {
		return nil, nil //nolint:nilnil // no watcher is needed
	}
	return watch(data, filepath.Join(data, "data"))
}

func (f *folder) pause(d time.Duration) {
	if d > 0 {
		time.Sleep(d)
	}
}

// longest is how long an aim's event is waited for.
const longest = 3 * time.Second

// ready waits until the node serves.
func (f *folder) ready(ctx context.Context) (time.Duration, error) {
	select {
	case line, ok := <-f.node.ready:
		if !ok || line["clients"] == "" {
			<-f.node.ended
			return 0, fmt.Errorf("the node does not start: %w; its log is %s", f.node.err, f.log.Name())
		}
		address := line["clients"]
		f.address.Store(&address)
		return time.Since(f.node.began), nil
	case <-time.After(patience):
		return 0, errors.New("the node does not become ready")
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// open connects clients, once: they find the node wherever it is.
func (f *folder) open(ctx context.Context) error {
	if f.impatient != nil {
		return nil
	}
	dial := client.WithDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", *f.address.Load())
	})
	var err error
	if f.impatient, err = client.Open(ctx, "127.0.0.1:1", client.Insecure(), dial, client.WithTries(1)); err != nil {
		return err
	}
	f.patient, err = client.Open(ctx, "127.0.0.1:1", client.Insecure(), dial, client.WithTries(100))
	return err
}

// verify waits until the node is ready and judges all that was told before.
func (f *folder) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	took, err := f.ready(ctx)
	if err != nil {
		return err
	}
	f.Tally.Add("verifications", 1)
	f.Tally.Add("milliseconds until ready", int(took.Milliseconds()))
	if err := f.open(ctx); err != nil {
		return err
	}
	var wrong []string
	var visits []*Visit
	if f.load != nil {
		wrong, visits = f.load.Wait()
	}
	judge := &judge{book: f.book, tally: f.Tally, history: &f.history, random: f.random, regions: []string{"local"}, db: func(string) *client.DB { return f.patient }}
	said, err := judge.settle(ctx, "local", visits)
	if err != nil {
		return err
	}
	if err := wrongly(append(wrong, said...)); err != nil {
		return err
	}
	f.Tally.Add("milliseconds verifying", int((time.Since(f.node.began) - took).Milliseconds()))
	return nil
}

func (f *folder) startLoad(ctx context.Context, aim Aim, removing func()) {
	over, cancel := context.WithCancel(ctx)
	f.endLoad = cancel
	status, err := f.patient.Status(ctx)
	if err != nil {
		fmt.Fprintf(f.log, "status: %v\n", err)
	}
	f.load = &Load{
		target: Target{Region: "local", DB: f.impatient, Patient: f.patient, First: client.WithOpID, Status: status, Padding: 8 << 10},
		book:   f.book, tally: f.Tally, cycle: f.cycle, seed: f.random.Uint64(), bulky: aim.Name == AimRemoval || f.random.IntN(5) == 0,
		removing: removing, lasting: aim.Slow,
	}
	if aim.Slow {
		f.load.target.Pause = func(ctx context.Context, random *rand.Rand) {
			select {
			case <-time.After(time.Duration(random.IntN(200)) * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
	f.load.Start(over)
}

// last verifies once more after the last kill, and stops the node in order.
func (f *folder) last(ctx context.Context) error {
	if err := f.start(); err != nil {
		return err
	}
	if err := f.verify(ctx); err != nil {
		return err
	}
	for promise, n := range f.book.Counts() {
		f.Tally.Add("transactions "+promise, n)
	}
	if err := f.node.stop(); err != nil {
		return err
	}
	select {
	case <-f.node.ended:
	case <-time.After(patience):
		return errors.New("the node does not stop")
	}
	if f.node.err != nil {
		return fmt.Errorf("the node stops with %w", f.node.err)
	}
	return nil
}
