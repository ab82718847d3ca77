package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binFolder names, in the environment, the folder of the built command. It is set where the tests
// run in a network of their own.
const binFolder = "INTERNAL_DOCS_BIN"

// TestMain builds the command, then runs the tests in a network of their own where the system
// allows that: the pages use the default ports, which a server of the developer's may hold.
func TestMain(m *testing.M) {
	if os.Getenv(binFolder) != "" {
		os.Exit(inside(m))
	}
	bin, err := os.MkdirTemp("", "docs")
	if err == nil {
		err = build(bin)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv(binFolder, bin)
	code, done := again()
	if !done {
		fmt.Fprintln(os.Stderr, "no network of our own here: the pages' ports must be free")
		code = m.Run()
	}
	os.RemoveAll(bin)
	os.Exit(code)
}

func build(bin string) error {
	c := exec.Command("go", "build", "-o", filepath.Join(bin, "theriac"), "./cmd/theriac")
	c.Dir = filepath.Join("..", "..")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
