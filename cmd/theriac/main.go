package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/theriac-db/theriac/cmd/theriac/cli"
	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/cmd/theriac/demo"
	"github.com/theriac-db/theriac/cmd/theriac/jepsen"
	"github.com/theriac-db/theriac/cmd/theriac/serve"
	"github.com/theriac-db/theriac/internal/procs"
)

// version is the release, set by the linker: -ldflags "-X main.version=v0.1.0".
var version string

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends what does not heed the first, such as a pipe without a reader
	return newApp().Run(ctx, os.Args[1:])
}

// newApp is the command in its real surroundings.
func newApp() *cli.App {
	terminal := term.IsTerminal(int(os.Stderr.Fd()))
	return &cli.App{
		Stdin:    os.Stdin,
		Stdout:   os.Stdout,
		Stderr:   os.Stderr,
		Env:      os.Environ(),
		Terminal: terminal,
		Version:  version,
		Source:   serve.Version,
		Serve: func(ctx context.Context, c config.Serve, stdout io.Writer) error {
			procs.Server()
			return serve.Run(ctx, c, stdout, os.Stderr)
		},
		Commands: func() []*cobra.Command {
			return []*cobra.Command{
				demo.Command(os.Stdout),
				jepsen.Command(jepsen.Options{Out: os.Stdout, Err: os.Stderr, Terminal: terminal}),
			}
		},
	}
}
