package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// Times that a parent waits for a child.
const (
	childStart = 2 * time.Minute
	childStop  = time.Minute
)

// process is a child, seen from its parent.
type process struct {
	ready ready

	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	ended bool // quit or killed: doing it again does nothing
}

// startRegion starts a child with a region, pinned to a core unless core is empty.
func startRegion(ctx context.Context, e *Env, c RegionConfig, core string) (*process, error) {
	config, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return startChild(ctx, e, core, "region", string(config))
}

// startChild starts a child and returns once it is ready.
func startChild(ctx context.Context, e *Env, core string, args ...string) (*process, error) {
	if len(e.Self) == 0 {
		return nil, errors.New("bench: no command that starts children is known")
	}
	line := append(append([]string{}, e.Self...), args...)
	if core != "" {
		line = append([]string{"taskset", "-c", core}, line...)
	}
	p := &process{cmd: exec.CommandContext(ctx, line[0], line[1:]...)}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReaderSize(out, 1<<20)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: start a child: %w", err)
	}
	if err := p.receive(&p.ready, childStart); err != nil {
		return nil, errors.Join(fmt.Errorf("bench: child %s is not ready: %w", args[0], err), p.kill())
	}
	return p, nil
}

// receive reads one message; a child that says nothing for so long is killed.
func (p *process) receive(m any, patience time.Duration) error {
	timer := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	line, err := readLine(p.out, childLine)
	if err != nil {
		return err
	}
	return json.Unmarshal(line, m)
}

func readLine(r *bufio.Reader, most int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > most:
			return nil, fmt.Errorf("a line of more than %d bytes", most)
		}
	}
}

// ask sends a request and waits for the answer, at most for patience.
func (p *process) ask(q request, patience time.Duration) (reply, error) {
	var r reply
	if err := json.NewEncoder(p.in).Encode(q); err != nil {
		return r, fmt.Errorf("bench: ask a child to %s: %w", q.Do, err)
	}
	if err := p.receive(&r, patience); err != nil {
		return r, fmt.Errorf("bench: answer of a child to %s: %w", q.Do, err)
	}
	if r.Error != "" {
		return r, fmt.Errorf("bench: child, asked to %s: %s", q.Do, r.Error)
	}
	return r, nil
}

// quit lets the child stop in order.
func (p *process) quit() error {
	if p.ended {
		return nil
	}
	p.ended = true
	p.in.Close() // the child reads to its end; it may have ended before
	timer := time.AfterFunc(childStop, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("bench: a child ended: %w", err)
	}
	return nil
}

// kill ends the child as kill -9 does.
func (p *process) kill() error {
	if p.ended {
		return nil
	}
	p.ended = true
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	return nil
}
