//go:build mutants

package mutant

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
)

// Built says that this build has mutants.
const Built = true

// Env is the environment variable that names the mutant of a process.
const Env = "THERIAC_MUTANT"

var (
	active  atomic.Pointer[Name] // nil: none
	reached atomic.Int64
)

func init() {
	if name := os.Getenv(Env); name != "" {
		Set(Name(name))
	}
}

// On is whether a mutant is on. It counts how often the one that is was asked for.
func On(n Name) bool {
	a := active.Load()
	if a == nil || *a != n {
		return false
	}
	reached.Add(1)
	return true
}

// Set makes n the mutant that is on; none is with "". It panics with a list when there is none of that name.
func Set(n Name) {
	reached.Store(0)
	if n == "" {
		active.Store(nil)
		return
	}
	if _, found := Find(n); !found {
		panic(fmt.Sprintf("mutant: there is no %q; there are %s", n, strings.Join(names(), ", ")))
	}
	active.Store(&n)
}

// Active is the mutant that is on; "": none is.
func Active() Name {
	if a := active.Load(); a != nil {
		return *a
	}
	return ""
}

// Reached is how often the mutant that is on has made a difference since it was set. A run in which it
// never did shows nothing.
func Reached() int64 { return reached.Load() }

func names() []string {
	out := make([]string, len(table))
	for i := range table {
		out[i] = string(table[i].Name)
	}
	return out
}
