package docs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Patience bounds one block, and how long a server may take until its first line.
const Patience = time.Minute

// Runner runs the blocks of one page, in one folder.
type Runner struct {
	Root    string // of the module: where Go programs are built
	Folder  string // where commands run; the caller makes and removes it
	Path    string // folder of the theriac binary
	servers []*exec.Cmd
	printed string // by the block before
}

// Run runs one block, or compares an output block with what the block before printed.
func (r *Runner) Run(ctx context.Context, b Block) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	var err error
	switch b.Language + " " + b.Mark {
	case "sh run":
		err = r.capture(r.command(ctx, r.Folder, "bash", "-euo", "pipefail", "-c", b.Text))
	case "sh serve":
		err = r.serve(ctx, b.Text)
	case "sh ci":
		err = r.lookUp(b.Text)
	case "go run":
		err = r.program(ctx, b.Text)
	case "text output":
		if missing, ok := Matches(b.Text, r.printed); !ok {
			err = fmt.Errorf("the output lacks the line %q; it was:\n%s", missing, r.printed)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", b, err)
	}
	return nil
}

// command prepares a process in a group of its own, so that what it starts ends with it.
func (r *Runner) command(ctx context.Context, folder, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = folder
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "THERIAC_") })
	c.Env = append(c.Env, "MODULE="+r.Root, "PATH="+r.Path+string(filepath.ListSeparator)+os.Getenv("PATH"))
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	return c
}

// capture runs a command to its end and keeps what it printed.
func (r *Runner) capture(c *exec.Cmd) error {
	out, err := c.CombinedOutput()
	r.printed = string(out)
	if err != nil {
		return fmt.Errorf("%w; it printed:\n%s", err, out)
	}
	return nil
}

// serve starts a server that lives until Close and waits for its first line on standard output.
func (r *Runner) serve(ctx context.Context, text string) error {
	messages, err := os.CreateTemp(r.Folder, "server-*.log")
	if err != nil {
		return err
	}
	defer messages.Close() // the server has a descriptor of its own
	c := r.command(context.WithoutCancel(ctx), r.Folder, "bash", "-euo", "pipefail", "-c", text)
	c.Stderr = messages
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	r.servers = append(r.servers, c)
	if r.printed = firstLine(ctx, out); r.printed == "" {
		said, _ := os.ReadFile(messages.Name()) // only to explain the error
		return fmt.Errorf("the server printed no line; its messages:\n%s", said)
	}
	return nil
}

// firstLine is the first line of what a server prints, "" when it ends, or ctx does, before. The
// rest is thrown away, until Close kills the server.
func firstLine(ctx context.Context, out io.Reader) string {
	first := make(chan string, 1)
	go func() {
		lines := bufio.NewReader(out)
		line, _ := lines.ReadString('\n')
		first <- line
		_, _ = io.Copy(io.Discard, lines)
	}()
	select {
	case line := <-first:
		return line
	case <-ctx.Done():
		return ""
	}
}

var (
	makeTarget = regexp.MustCompile(`^make( [a-z-]+)?( [A-Z]+=\S+)*$`)
	ciStep     = regexp.MustCompile(`^\.ci/run( [a-z-]+)*$`)
)

// lookUp checks that every line is a make target that exists, or .ci/run.
func (r *Runner) lookUp(text string) error {
	makefile, err := os.ReadFile(filepath.Join(r.Root, "Makefile"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		target := makeTarget.FindStringSubmatch(line)
		switch {
		case line == "" || ciStep.MatchString(line):
		case target == nil:
			return fmt.Errorf("%q is neither make TARGET nor .ci/run: mark it run", line)
		case target[1] != "" && !strings.Contains(string(makefile), "\n"+target[1][1:]+":"):
			return fmt.Errorf("no target%s in Makefile", target[1])
		}
	}
	return nil
}

// program runs a Go program from outside the tree, as part of the module.
func (r *Runner) program(ctx context.Context, text string) error {
	folder, err := os.MkdirTemp(r.Folder, "program")
	if err != nil {
		return err
	}
	file := filepath.Join(folder, "main.go")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	if err := r.capture(r.command(ctx, r.Root, "go", "vet", file)); err != nil {
		return err
	}
	return r.capture(r.command(ctx, r.Root, "go", "run", file))
}

// Close kills the servers, and waits for them.
func (r *Runner) Close() {
	for _, c := range r.servers {
		_ = c.Cancel()
		_ = c.Wait() // always an error: it was killed
	}
	r.servers = nil
}
