package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
)

// binary builds the command once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "theriac-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "theriac")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// process is one running `theriac serve`.
type process struct {
	t      *testing.T
	args   []string
	cmd    *exec.Cmd
	ready  map[string]string // of the ready line
	stderr *os.File
}

// startServe starts a node and waits for its ready line.
func startServe(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, args: append([]string{"serve", "--insecure"}, args...)}
	p.start()
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	return p
}

func (p *process) start() {
	p.t.Helper()
	path, err := binary()
	require.NoError(p.t, err)
	p.cmd = exec.Command(path, p.args...)
	p.cmd.Dir = p.t.TempDir()
	p.stderr, err = os.Create(filepath.Join(p.t.TempDir(), "stderr"))
	require.NoError(p.t, err)
	p.cmd.Stderr = p.stderr
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(p.t, err)
	require.NoError(p.t, p.cmd.Start())
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		lines <- line
	}()
	select {
	case line := <-lines:
		p.ready = parseReady(line)
		require.NotEmpty(p.t, p.ready["clients"], "ready line %q, log:\n%s", line, p.log())
	case <-time.After(30 * time.Second):
		p.end(syscall.SIGKILL)
		p.t.Fatalf("no ready line; log:\n%s", p.log())
	}
}

func parseReady(line string) map[string]string {
	out := map[string]string{}
	for _, word := range strings.Fields(line) {
		if name, value, ok := strings.Cut(word, "="); ok {
			out[name] = value
		}
	}
	return out
}

func (p *process) log() string {
	b, err := os.ReadFile(p.stderr.Name())
	require.NoError(p.t, err)
	return string(b)
}

// end sends a signal and waits; it returns the exit error.
func (p *process) end(s syscall.Signal) error {
	if p.cmd.ProcessState != nil {
		return nil
	}
	_ = p.cmd.Process.Signal(s) // it may have ended by itself
	err := p.cmd.Wait()
	_ = p.stderr.Close()
	return err
}

// restart starts the node again on the same ports.
func (p *process) restart() {
	p.t.Helper()
	for _, port := range []struct{ name, flag string }{
		{"clients", "--listen"}, {"peers", "--peer-listen"}, {"gossip", "--gossip-listen"}, {"admin", "--admin-listen"},
	} {
		p.args = append(p.args, port.flag, p.ready[port.name])
	}
	p.start()
}

func (p *process) open(t *testing.T) *client.DB {
	db, err := client.Open(t.Context(), p.ready["clients"], client.Insecure())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// run runs a data command and returns what it printed.
func run1(t *testing.T, addr string, args ...string) string {
	t.Helper()
	path, err := binary()
	require.NoError(t, err)
	out, err := exec.Command(path, append([]string{"--insecure", "--addr", addr}, args...)...).CombinedOutput()
	require.NoError(t, err, "%v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// Three processes on loopback form a database that survives kill -9 of any of them.
func TestThreeProcessesSurviveKill9(t *testing.T) {
	data := t.TempDir()
	node := func(name string, join ...string) *process {
		args := []string{"--region", name, "--data", filepath.Join(data, name), "--listen", "127.0.0.1:0"}
		if len(join) > 0 {
			args = append(args, "--join", strings.Join(join, ","))
		}
		return startServe(t, args...)
	}
	eu := node("eu")
	us := node("us", eu.ready["clients"])
	ap := node("ap", eu.ready["clients"], us.ready["clients"])
	nodes := []*process{eu, us, ap}

	acknowledged, unknown := 0, 0
	for round := range 6 {
		victim := nodes[round%len(nodes)]
		var wg sync.WaitGroup
		var mu sync.Mutex
		stop, cancel := context.WithCancel(t.Context())
		for _, p := range nodes {
			db := p.open(t)
			wg.Go(func() {
				for stop.Err() == nil {
					ctx, done := context.WithTimeout(t.Context(), 100*time.Millisecond)
					err := db.Counter("n").Add(ctx, 1)
					done()
					mu.Lock()
					if err == nil {
						acknowledged++
					} else if client.OutcomeOf(err) != kv.NotApplied {
						unknown++
					}
					mu.Unlock()
				}
			})
		}
		require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return acknowledged > 200*(round+1) }, 30*time.Second, time.Millisecond)
		require.Error(t, victim.end(syscall.SIGKILL))
		cancel()
		wg.Wait()
		victim.restart()
	}
	var last int64
	require.Eventually(t, func() bool {
		seen := map[int64]bool{}
		for _, p := range nodes {
			n, err := p.open(t).Counter("n").Get(t.Context())
			if err != nil {
				return false
			}
			seen[n], last = true, n
		}
		return len(seen) == 1 && last >= int64(acknowledged)
	}, 30*time.Second, 50*time.Millisecond, "the regions do not agree on at least what was acknowledged")
	require.LessOrEqual(t, last, int64(acknowledged+unknown))
	for _, p := range nodes {
		require.NoError(t, p.end(syscall.SIGTERM), "an orderly stop ends well")
	}
}

func TestServeWithoutFlagsIsADatabaseOnLoopback(t *testing.T) {
	p := startServe(t, "--listen", "127.0.0.1:0")
	addr := p.ready["clients"]
	run1(t, addr, "counter", "add", "likes", "2")
	require.Equal(t, "2", run1(t, addr, "counter", "get", "likes"))
	require.True(t, strings.HasPrefix(addr, "127.0.0.1:"))
}

func TestServeRefusesWhatItCannotUse(t *testing.T) {
	p := startServe(t, "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0")
	path, err := binary()
	require.NoError(t, err)
	data := p.args[3]
	foreign := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(foreign, "notes.txt"), []byte("mine"), 0o600))
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"a port in use":                {[]string{"--listen", p.ready["clients"]}, "can't be bound"},
		"a second process on a folder": {[]string{"--data", data, "--listen", "127.0.0.1:0"}, "another process"},
		"a foreign folder":             {[]string{"--data", foreign, "--listen", "127.0.0.1:0"}, "notes.txt"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, path, append([]string{"serve", "--insecure"}, c.args...)...)
			cmd.Dir = t.TempDir()
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			require.Contains(t, string(out), c.want)
		})
	}
	require.FileExists(t, filepath.Join(foreign, "notes.txt"))
	run1(t, p.ready["clients"], "counter", "add", "n", "1")
}

// Whatever arrives on a port, the connection ends, memory stays bounded, and clients are served.
func TestGarbageOnEveryPort(t *testing.T) {
	p := startServe(t, "--listen", "127.0.0.1:0")
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 64<<10)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	hugeFrame := preface + "\xff\xff\xff\x00\x00\x00\x00\x00\x01"
	settings := preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	payloads := map[string]string{
		"noise": string(noise), "huge frame": hugeFrame, "frames of noise": settings + string(noise),
		"huge HTTP header": "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 1<<20),
	}
	for _, port := range []string{"clients", "peers", "admin", "gossip"} {
		for name, payload := range payloads {
			t.Run(port+"/"+name, func(t *testing.T) { throw(t, p.ready[port], payload) })
		}
	}
	require.Less(t, residentMiB(t, p), 512)
	run1(t, p.ready["clients"], "counter", "add", "n", "1")
}

// throw sends bytes and waits until the other side has had enough.
func throw(t *testing.T, address, payload string) {
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(60*time.Second)))
	_, _ = io.WriteString(conn, payload) // it may be refused half way
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
	_, err = io.Copy(io.Discard, conn)
	var timeout net.Error
	require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "the connection was kept open")
}

func residentMiB(t *testing.T, p *process) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	require.NoError(t, err)
	var size, resident int
	_, err = fmt.Sscan(string(b), &size, &resident)
	require.NoError(t, err)
	return resident * os.Getpagesize() >> 20
}

func TestDemoCommand(t *testing.T) {
	path, err := binary()
	require.NoError(t, err)
	out, err := exec.Command(path, "demo").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "Every claim above was checked")
}
