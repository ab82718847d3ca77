package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/theriac-db/theriac/bench"
	"github.com/theriac-db/theriac/internal/procs"
)

// childWord as the first argument makes this process a child of another one.
const childWord = "child"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == childWord {
		return runChild(ctx, args[1:])
	}
	o, err := parse(args, os.Stderr)
	if err != nil {
		return err
	}
	if o.list {
		for _, b := range bench.All() {
			fmt.Println(b.Name)
		}
		return nil
	}
	return measure(ctx, o, args)
}

// runChild runs a child, and profiles it where that is asked for.
func runChild(ctx context.Context, args []string) error {
	procs.Server() // a child is what theriac serve is, or its limit
	file := ""
	if dir := os.Getenv("THERIAC_BENCH_PROFILES"); dir != "" {
		file = filepath.Join(dir, fmt.Sprintf("child-%d.pprof", os.Getpid()))
	}
	stop, err := profile(file)
	if err != nil {
		return err
	}
	return errors.Join(bench.RunChild(ctx, args, os.Stdin, os.Stdout, openRegion), stop())
}

// options are the command line's.
type options struct {
	quick, list bool
	pattern     *regexp.Regexp
	dir, write  string
	profile     string
	rounds      int
}

func parse(args []string, messages io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(messages)
	fs.BoolVar(&o.quick, "quick", false, "smaller and shorter, for a first impression")
	fs.BoolVar(&o.list, "list", false, "list the benchmarks and end")
	pattern := fs.String("run", "", "run only benchmarks whose names match `regexp`")
	fs.StringVar(&o.dir, "dir", ".", "`folder` on the disk to measure; a temporary folder is made and removed in it")
	fs.StringVar(&o.write, "write", "", "put the table into this `document`, between its marks")
	fs.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of this process to `file`")
	fs.IntVar(&o.rounds, "rounds", 0, "rounds of each comparison, 1 to 100 (default 9, with -quick 5)")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 || o.rounds < 0 || o.rounds > 100 {
		return nil, fmt.Errorf("arguments %q, rounds %d: want flags only, and 1 to 100 rounds", fs.Args(), o.rounds)
	}
	var err error
	o.pattern, err = regexp.Compile(*pattern)
	return o, err
}

func (o *options) chosen() []bench.Benchmark {
	var out []bench.Benchmark
	for _, b := range bench.All() {
		if o.pattern.MatchString(b.Name) {
			out = append(out, b)
		}
	}
	return out
}

func (o *options) scale() bench.Scale {
	s := bench.Full()
	if o.quick {
		s = bench.Quick()
	}
	if o.rounds > 0 {
		s.Rounds = o.rounds
	}
	return s
}

// measure runs the chosen benchmarks and prints their table.
func measure(ctx context.Context, o *options, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, ".bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	env := &bench.Env{
		Scale: o.scale(), Open: openEmbedded, Dir: dir, Self: []string{self, childWord},
		Logf: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	}
	machine := bench.ThisMachine(commandLine(args), time.Now())
	stop, err := profile(o.profile)
	if err != nil {
		return err
	}
	figures := bench.Run(ctx, env, o.chosen())
	table := bench.Table(machine, figures)
	fmt.Print(table)
	return errors.Join(ctx.Err(), stop(), failures(figures), write(o.write, table))
}

// commandLine is what a reader types to run the same.
func commandLine(args []string) string {
	words := []string{"go run ./bench/cmd"}
	for _, a := range args {
		if strings.ContainsAny(a, " |()[]*?$\\") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

// profile starts a CPU profile, unless file is empty; stop ends it.
func profile(file string) (stop func() error, err error) {
	if file == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

func failures(figures []bench.Figure) error {
	var errs []error
	for i := range figures {
		if figures[i].Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", figures[i].Benchmark, figures[i].Err))
		}
	}
	return errors.Join(errs...)
}

func write(document, table string) error {
	if document == "" {
		return nil
	}
	return bench.WriteTable(document, table)
}
