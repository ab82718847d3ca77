package torture

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// process is one run of `theriac serve`.
type process struct {
	cmd   *exec.Cmd
	began time.Time
	ready chan map[string]string // closed without a value when it ended before
	ended chan struct{}
	err   error // once ended
}

// spawn starts a node. The process ends with this one, whatever ends this one: the kernel sends it SIGKILL
// when the thread that started it is gone, so that thread is kept until the process has ended.
func spawn(binary string, args []string, log io.Writer) (*process, error) {
	p := &process{ready: make(chan map[string]string, 1), ended: make(chan struct{})}
	p.cmd = exec.Command(binary, args...)
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		p.began = time.Now()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.follow(stdout)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", binary, err)
	}
	return p, nil
}

// follow reads the ready line, and waits for the end.
func (p *process) follow(stdout io.Reader) {
	r := bufio.NewReader(stdout)
	if line, err := r.ReadString('\n'); err == nil {
		p.ready <- readyLine(line)
	}
	close(p.ready)
	_, _ = io.Copy(io.Discard, r) // until it ends
	p.err = p.cmd.Wait()
	close(p.ended)
}

func readyLine(line string) map[string]string {
	out := map[string]string{}
	for word := range strings.FieldsSeq(line) {
		if name, value, ok := strings.Cut(word, "="); ok {
			out[name] = value
		}
	}
	return out
}

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill ends the process with SIGKILL and waits for its end. It is an error if it had ended by itself.
func (p *process) kill() error {
	already := !p.alive()
	_ = p.cmd.Process.Kill()
	<-p.ended
	if already {
		return fmt.Errorf("the node ended by itself: %w", p.err)
	}
	return nil
}

// stop begins an orderly stop.
func (p *process) stop() error { return p.cmd.Process.Signal(syscall.SIGTERM) }

// freeze stops the process where it is, so that it can be looked at.
func (p *process) freeze() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Microsecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err != nil {
			return err
		}
		if _, after, ok := bytes.Cut(b, []byte(") ")); ok && (after[0] == 'T' || after[0] == 'Z') {
			return nil
		}
	}
	return errors.New("the process does not stop")
}

// writing lists the kinds of files below a folder that a frozen process has open to write.
func (p *process) writing(below string) map[string]bool {
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	fds, _ := os.ReadDir(dir) // a process that is gone has none
	out := map[string]bool{}
	for _, fd := range fds {
		name, err := os.Readlink(filepath.Join(dir, fd.Name()))
		info, err2 := os.Lstat(filepath.Join(dir, fd.Name()))
		if err != nil || err2 != nil || info.Mode()&0o200 == 0 || !strings.HasPrefix(name, below+"/") {
			continue
		}
		out[kindOfFile(filepath.Base(name))] = true
	}
	return out
}

// kindOfFile is what a file's name says without its number: "MANIFEST", "marker", or ".sst".
func kindOfFile(name string) string {
	for _, begin := range []string{"MANIFEST", "OPTIONS", "marker", "LOCK", "WITNESS", "FORMAT"} {
		if strings.HasPrefix(name, begin) {
			return begin
		}
	}
	return filepath.Ext(name)
}

// watcher tells what happens to the files of folders.
type watcher struct {
	file   *os.File
	events chan fileEvent
	done   sync.WaitGroup
}

// maxEvents is how many events wait; those that come when nobody takes them are dropped.
const maxEvents = 4096

// watch watches folders.
func watch(dirs ...string) (*watcher, error) {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	w := &watcher{file: os.NewFile(uintptr(fd), "inotify"), events: make(chan fileEvent, maxEvents)}
	for _, dir := range dirs {
		if _, err := syscall.InotifyAddWatch(fd, dir, syscall.IN_CREATE|syscall.IN_DELETE|syscall.IN_MODIFY|syscall.IN_OPEN|syscall.IN_MOVED_TO); err != nil {
			return nil, errors.Join(fmt.Errorf("watching %s: %w", dir, err), w.file.Close())
		}
	}
	w.done.Go(w.run)
	return w, nil
}

func (w *watcher) run() {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			return
		}
		for b := buf[:n]; len(b) >= syscall.SizeofInotifyEvent; {
			e := (*syscall.InotifyEvent)(unsafe.Pointer(&b[0]))
			end := syscall.SizeofInotifyEvent + int(e.Len)
			name := string(bytes.TrimRight(b[syscall.SizeofInotifyEvent:end], "\x00"))
			w.tell(name, e.Mask)
			b = b[end:]
		}
	}
}

func (w *watcher) tell(name string, mask uint32) {
	e := fileEvent{name: name}
	switch {
	case mask&(syscall.IN_CREATE|syscall.IN_MOVED_TO) != 0:
		e.what = fileCreated
	case mask&syscall.IN_DELETE != 0:
		e.what = fileRemoved
	case mask&syscall.IN_MODIFY != 0:
		e.what = fileChanged
	case mask&syscall.IN_OPEN != 0:
		e.what = fileOpened
	default:
		return
	}
	select {
	case w.events <- e:
	default:
	}
}

func (w *watcher) close() {
	_ = w.file.Close() // it ends the read
	w.done.Wait()
}
