package cli

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/cmd/theriac/words"
	"github.com/theriac-db/theriac/kv"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files from what the commands print now")

// open is a service as a connection.
type open struct{ kv.Service }

func (open) Close() error { return nil }

// newTestApp is an app whose commands run on a service, with nothing from the real surroundings.
func newTestApp(svc kv.Service, stdin string) (*App, *bytes.Buffer, *bytes.Buffer) {
	var stdout, stderr bytes.Buffer
	return &App{
		Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr, Version: "v0.0.0-test",
		Dial: func(context.Context, config.Client) (Connection, error) { return open{svc}, nil },
	}, &stdout, &stderr
}

// TestScripts runs the commands of each file in testdata/scripts, on databases of their own, and compares what
// they print with what stands below them. In a script
//
//	$ counter add likes 5        runs a command on the first database; $b on the second
//	< text                       above a command, gives it a line of standard input
//	> FILE: text                 appends a line to a file, DIR/FILE in arguments
//	! text                       is expected on stderr, anything else on stdout
//	~                            is an empty line of output
//	exit 2                       is expected where the code is not 0
//
// To rewrite: go test ./cmd/theriac/cli -run TestScripts -rewrite
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/scripts/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	for _, name := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			got := newScript(t).run(string(text))
			if *rewrite {
				require.NoError(t, os.WriteFile(name, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(text), got, "-rewrite accepts what is printed now")
		})
	}
}

type script struct {
	t     *testing.T
	dir   string
	nodes map[string]kv.Service
	out   strings.Builder
	stdin strings.Builder
}

func newScript(t *testing.T) *script {
	return &script{t: t, dir: t.TempDir(), nodes: map[string]kv.Service{
		"$": memkv.New().Node(1, "eu"), "$b": memkv.New().Node(1, "us")}}
}

// run replays a script: its commands, comments and inputs stay, what they print is new.
func (s *script) run(text string) string {
	for line := range strings.Lines(text) {
		mark, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch mark {
		case "$", "$b":
			s.out.WriteString(line)
			s.command(s.nodes[mark], rest)
		case "<":
			s.out.WriteString(line)
			fmt.Fprintln(&s.stdin, rest)
		case ">":
			s.out.WriteString(line)
			s.file(rest)
		case "#":
			s.out.WriteString(line)
		case "":
			if rest == "" {
				s.out.WriteString("\n")
			}
		}
	}
	return s.out.String()
}

func (s *script) file(rest string) {
	name, text, _ := strings.Cut(rest, ": ")
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(s.t, err)
	_, err = io.WriteString(f, text+"\n")
	require.NoError(s.t, err)
	require.NoError(s.t, f.Close())
}

func (s *script) command(svc kv.Service, line string) {
	args, err := words.Split(strings.ReplaceAll(line, "DIR", s.dir))
	require.NoError(s.t, err, line)
	app, stdout, stderr := newTestApp(svc, s.stdin.String())
	s.stdin.Reset()
	code := app.Run(context.Background(), args)
	s.print("", stdout.String())
	s.print("! ", stderr.String())
	if code != 0 {
		fmt.Fprintf(&s.out, "exit %d\n", code)
	}
}

func (s *script) print(mark, text string) {
	if text == "" {
		return
	}
	for line := range strings.Lines(strings.TrimSuffix(text, "\n") + "\n") {
		line = strings.ReplaceAll(line, s.dir, "DIR")
		line = strings.ReplaceAll(line, fmt.Sprintf(`"arch":%q,"go":%q,"os":%q`, runtime.GOARCH, runtime.Version(), runtime.GOOS), "GO")
		line = strings.ReplaceAll(line, runtime.Version()+", "+runtime.GOOS+"/"+runtime.GOARCH, "GO")
		if line == "\n" {
			line = "~\n" // a blank line in a script is its author's
		}
		s.out.WriteString(mark + line)
	}
}
