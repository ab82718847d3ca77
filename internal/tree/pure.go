package tree

import (
	"fmt"
	"go/ast"
	"slices"
	"strconv"
	"strings"
)

// forbidden are the packages that a pure package imports neither themselves nor below: what acts,
// waits or differs from run to run.
var forbidden = []string{"net", "os", "sync", "syscall", "log", "crypto/rand", "io/ioutil", "plugin"}

// timers are the names of package time that read the clock or wait.
var timers = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer",
	"Timer", "Ticker"}

// sources are the names of math/rand and math/rand/v2 that a pure package may use: a generator that
// the caller passes in. Everything else is, or hides, the global one.
var sources = []string{"Rand", "Source", "Source64"}

// impure lists what breaks invariant 3 in one file.
func impure(f *file) []string {
	var wrong []string
	for _, spec := range f.syntax.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		if slices.ContainsFunc(forbidden, func(p string) bool { return name == p || strings.HasPrefix(name, p+"/") }) {
			wrong = append(wrong, fmt.Sprintf("%s: a pure package imports %s", f.name, name))
		}
	}
	for _, use := range uses(f, "time", func(name string) bool { return slices.Contains(timers, name) }) {
		wrong = append(wrong, use+": in a pure package time is an argument")
	}
	for _, p := range []string{"math/rand", "math/rand/v2"} {
		for _, use := range uses(f, p, func(name string) bool { return !slices.Contains(sources, name) }) {
			wrong = append(wrong, use+": in a pure package randomness is an argument")
		}
	}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if g, found := n.(*ast.GoStmt); found {
			wrong = append(wrong, fmt.Sprintf("%s: a pure package starts a goroutine", f.set.Position(g.Pos())))
		}
		return true
	})
	return wrong
}

// uses lists where f mentions a name, chosen by pick, of the package with that import path, under
// whatever name it is imported. A dot import counts as a use: it hides all others.
func uses(f *file, path string, pick func(name string) bool) []string {
	local := localName(f, path)
	if local == "" {
		return nil
	}
	if local == "." {
		return []string{fmt.Sprintf("%s: import of %s with a dot", f.name, path)}
	}
	var found []string
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := selector.X.(*ast.Ident); ok && x.Name == local && pick(selector.Sel.Name) {
			found = append(found, fmt.Sprintf("%s: %s.%s", f.set.Position(selector.Pos()), path, selector.Sel.Name))
		}
		return true
	})
	return found
}

// localName is the name under which f imports a package, or "".
func localName(f *file, path string) string {
	for _, spec := range f.syntax.Imports {
		if name, _ := strconv.Unquote(spec.Path.Value); name != path {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		path = strings.TrimSuffix(path, "/v2")
		return path[strings.LastIndexByte(path, '/')+1:]
	}
	return ""
}
