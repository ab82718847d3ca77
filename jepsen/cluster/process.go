package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// process is one running node.
type process struct {
	cmd   *exec.Cmd
	ready chan struct{} // closed at its ready line
	ended chan struct{} // closed when it has ended and err is set
	err   error         // how it ended; nil: exit code 0
	// wanted says that whoever holds the cluster ends it: its end is no failure.
	wanted atomic.Bool
	// excused says that it may end by itself: its disk was filled.
	excused  atomic.Bool
	clockSet bool // it was told an offset; changed with the node's mu held
	roomSet  bool // it was told a room; likewise
}

// readyLine is how the line begins that a node prints when it serves.
const readyLine = "theriac ready "

// startProcess starts a command whose log goes to a file. whenEnded is called when it has
// ended, before those who wait for that go on.
func startProcess(args []string, logFile string, whenEnded func(*process)) (*process, error) {
	p := &process{ready: make(chan struct{}), ended: make(chan struct{})}
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Stderr = log
	p.cmd.Env = environment()
	p.cmd.SysProcAttr = attributes()
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := spawn(p.cmd); err != nil {
		return nil, err
	}
	go p.follow(stdout, whenEnded)
	return p, nil
}

// environment is this process's without settings of theriac, which are this cluster's to make.
func environment() []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "THERIAC_") {
			env = append(env, entry)
		}
	}
	return env
}

// follow reads what the process prints until it has ended.
func (p *process) follow(stdout io.Reader, whenEnded func(*process)) {
	lines := bufio.NewReader(stdout)
	line, _ := lines.ReadString('\n')
	if strings.HasPrefix(line, readyLine) {
		close(p.ready)
	}
	_, _ = io.Copy(io.Discard, lines)
	p.err = p.cmd.Wait()
	whenEnded(p) // before anybody who waits for the end can ask whether it was a failure
	close(p.ended)
}

// running reports whether the process has not ended.
func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// errEnded says that a node ended before it served.
var errEnded = errors.New("it ended before it served")

// await waits until the node serves.
func (p *process) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, StartTimeout, fmt.Errorf("it does not serve after %v", StartTimeout))
	defer cancel()
	select {
	case <-p.ready:
		return nil
	case <-p.ended:
		return fmt.Errorf("%w: %w", errEnded, orNil(p.err, "with exit code 0"))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// signal sends a signal. A process that has ended takes none, which is no error.
func (p *process) signal(s syscall.Signal) error {
	if !p.running() {
		return nil
	}
	err := p.cmd.Process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// kill ends the process without warning, also one that is paused, and waits. It reports whether the process ran,
// and ended by that.
func (p *process) kill() (killed bool, err error) {
	if !p.running() {
		return false, nil
	}
	p.wanted.Store(true)
	if err := p.signal(syscall.SIGKILL); err != nil {
		return false, err
	}
	<-p.ended
	status, known := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return known && status.Signaled() && status.Signal() == syscall.SIGKILL, nil
}

// stop ends the process in order, or kills it when that takes too long.
func (p *process) stop() error {
	p.wanted.Store(true)
	if err := errors.Join(p.resume(), p.signal(syscall.SIGTERM)); err != nil {
		_, failed := p.kill()
		return errors.Join(err, failed)
	}
	timer := time.NewTimer(StopTimeout)
	defer timer.Stop()
	select {
	case <-p.ended:
		return p.err
	case <-timer.C:
		_, err := p.kill()
		return errors.Join(fmt.Errorf("it did not stop within %v and was killed", StopTimeout), err)
	}
}

// spawner starts all processes from one thread that lives as long as this process: the kernel kills
// those that are bound to the life of their parent when the thread ends that started them.
var spawner = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		lockThread()
		for do := range work {
			do()
		}
	}()
	return work
})

// spawn starts a command from the spawner's thread.
func spawn(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	spawner() <- func() { done <- cmd.Start() }
	return <-done
}

// maxTail bounds what of a log goes into an error, in bytes.
const maxTail = 2 << 10

// lastWords begin what the runtime prints when it gives up, with all goroutines behind.
var lastWords = []string{"\npanic: ", "\nfatal error: ", "\nSIG"}

// tail is the end of a log file, for an error: how a panic begins, or the last lines.
func tail(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	text := "\n" + string(b)
	for _, words := range lastWords {
		if i := strings.LastIndex(text, words); i >= 0 {
			text = text[i:]
			return strings.TrimSpace(text[:min(len(text), maxTail)])
		}
	}
	if len(text) > maxTail {
		_, text, _ = strings.Cut(text[len(text)-maxTail:], "\n")
	}
	return strings.TrimSpace(text)
}
