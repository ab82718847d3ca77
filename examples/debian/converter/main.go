package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
)

const statusFile = "/var/lib/dpkg/status"

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "converter:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("converter", flag.ContinueOnError)
	flags.SetOutput(stderr)
	bucket := flags.String("bucket", "debian", "bucket of the objects")
	split := flags.String("part", "1/1", "write only part N of M")
	limit := flags.Int("limit", 0, "packages to read at most, before splitting; 0: all")
	if err := flags.Parse(args); err != nil {
		return err
	}
	p, err := parsePart(*split)
	if err != nil {
		return err
	}
	index, err := open(flags.Args())
	if err != nil {
		return err
	}
	defer index.Close()
	out := bufio.NewWriterSize(stdout, 1<<20)
	c := newConverter(*bucket, p, *limit, out)
	if err := c.convert(index); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "%d packages in the index, %d repeated entries left out\n", len(c.seen), c.repeated)
	return out.Flush()
}

// open gives the index: the named file, standard input for -, else apt's or dpkg's own.
func open(args []string) (io.ReadCloser, error) {
	switch {
	case len(args) > 1:
		return nil, fmt.Errorf("one FILE at most, got %d", len(args))
	case len(args) == 1 && args[0] == "-":
		return io.NopCloser(os.Stdin), nil
	case len(args) == 1:
		return os.Open(args[0])
	}
	if out, err := exec.Command("apt-cache", "dumpavail").Output(); err == nil && len(bytes.TrimSpace(out)) > 0 {
		return io.NopCloser(bytes.NewReader(out)), nil
	}
	return os.Open(statusFile)
}
