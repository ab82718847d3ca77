package tree

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// MaxLines bounds a source file: below 800 lines. Range: a file's length is 1 to MaxLines.
const MaxLines = 799

// sleepers may sleep in their tests: they test real processes on real time.
const sleepers = "jepsen"

var vagueNames = []string{"util", "common", "base", "helpers", "types"}

// Tree is a module's source, read once and checked rule by rule.
type Tree struct {
	module string
	rules  *Rules
	files  []*file
}

// file is one Go source file.
type file struct {
	name      string // path within the module
	pkg       string // the folder, which is the package's name within the module
	test      bool
	generated bool
	lines     int
	syntax    *ast.File
	set       *token.FileSet
}

// Load reads every Go file of the module in root, but for testdata and hidden folders.
func Load(root fs.FS, module string, rules *Rules) (*Tree, error) {
	t := &Tree{module: module, rules: rules}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return skipFolder(name)
		case path.Ext(name) != ".go":
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		return t.add(name, src)
	})
	return t, err
}

func skipFolder(name string) error {
	base := path.Base(name)
	if name != "." && (base == "testdata" || base == "bin" || strings.HasPrefix(base, ".")) {
		return fs.SkipDir
	}
	return nil
}

func (t *Tree) add(name string, src []byte) error {
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, name, src, parser.ParseComments)
	if err != nil {
		return err
	}
	t.files = append(t.files, &file{name: name, pkg: path.Dir(name), set: set, syntax: syntax,
		test: strings.HasSuffix(name, "_test.go"), generated: ast.IsGenerated(syntax),
		lines: bytes.Count(src, []byte("\n"))})
	return nil
}

// Check returns everything that breaks a rule, one line each, in the order of the files.
func (t *Tree) Check() []string {
	var wrong []string
	wrong = append(wrong, t.packages()...)
	wrong = append(wrong, t.unused()...)
	wrong = append(wrong, t.uncalled()...)
	for _, f := range t.files {
		wrong = append(wrong, t.imports(f)...)
		if f.generated {
			continue
		}
		if slices.Contains(t.rules.pure, f.pkg) && !f.test {
			wrong = append(wrong, impure(f)...)
		}
		wrong = append(wrong, shape(f)...)
		wrong = append(wrong, undocumented(f)...)
	}
	return wrong
}

// packages checks invariant 1 and that each package has a doc.go.
func (t *Tree) packages() []string {
	var wrong []string
	found, documented, written := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, f := range t.files {
		found[f.pkg] = true
		documented[f.pkg] = documented[f.pkg] || path.Base(f.name) == "doc.go" && f.syntax.Doc != nil
		written[f.pkg] = written[f.pkg] || !f.generated
	}
	for _, pkg := range slices.Sorted(maps.Keys(found)) {
		if _, listed := t.rules.packages[pkg]; !listed {
			wrong = append(wrong, fmt.Sprintf("package %s is not listed in imports.txt", pkg))
		}
		if written[pkg] && !documented[pkg] {
			wrong = append(wrong, fmt.Sprintf("package %s has no doc.go with a package comment", pkg))
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(t.rules.packages)) {
		if !found[pkg] {
			wrong = append(wrong, fmt.Sprintf("package %s is listed in imports.txt and does not exist", pkg))
		}
	}
	return wrong
}

// unused lists what imports.txt allows and nobody does, so that the file says what is.
func (t *Tree) unused() []string {
	used := map[string]bool{}
	for _, f := range t.files {
		for _, spec := range f.syntax.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			ours, _ := strings.CutPrefix(name, t.module+"/")
			used[f.pkg+" "+ours] = true
		}
	}
	var wrong []string
	for _, allowed := range []map[string][]string{t.rules.packages, t.rules.tests} {
		for _, pkg := range slices.Sorted(maps.Keys(allowed)) {
			for _, i := range allowed[pkg] {
				if !used[pkg+" "+i] {
					wrong = append(wrong, fmt.Sprintf("imports.txt lets %s import %s, which it does not", pkg, i))
				}
			}
		}
	}
	return wrong
}

// uncalled lists the packages that do not call what imports.txt says they do, outside of tests.
func (t *Tree) uncalled() []string {
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(t.rules.calls)) {
		pkg, function, _ := strings.Cut(name, ".")
		for _, caller := range t.rules.calls[name] {
			called := slices.ContainsFunc(t.files, func(f *file) bool {
				return f.pkg == caller && !f.test && len(uses(f, t.module+"/"+pkg, func(n string) bool { return n == function })) > 0
			})
			if !called {
				wrong = append(wrong, fmt.Sprintf("%s does not call %s, as imports.txt says", caller, name))
			}
		}
	}
	return wrong
}

// imports checks invariant 2 in one file. A first element without a dot is the standard library's.
func (t *Tree) imports(f *file) []string {
	var wrong []string
	for _, spec := range f.syntax.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return append(wrong, fmt.Sprintf("%s: import %s", f.name, spec.Path.Value))
		}
		if !t.allowed(f, name) {
			wrong = append(wrong, fmt.Sprintf("%s: %s may not import %s (see internal/tree/imports.txt)",
				f.name, f.pkg, name))
		}
	}
	return wrong
}

func (t *Tree) allowed(f *file, name string) bool {
	if ours, found := strings.CutPrefix(name, t.module+"/"); found {
		return t.rules.allows(f.pkg, ours, f.test)
	}
	first, _, _ := strings.Cut(name, "/")
	return !strings.Contains(first, ".") || t.rules.allowsModule(f.pkg, name, f.test)
}

// shape checks invariant 4 in one file.
func shape(f *file) []string {
	var wrong []string
	if f.lines > MaxLines {
		wrong = append(wrong, fmt.Sprintf("%s: %d lines; split it (at most %d)", f.name, f.lines, MaxLines))
	}
	if name := strings.TrimSuffix(f.syntax.Name.Name, "_test"); slices.Contains(vagueNames, name) {
		wrong = append(wrong, fmt.Sprintf("%s: a package named %s says nothing", f.name, name))
	}
	// In a bubble of testing/synctest to sleep is to move the clock.
	if f.test && !strings.HasPrefix(f.pkg, sleepers) && localName(f, "testing/synctest") == "" {
		for _, use := range uses(f, "time", func(name string) bool { return name == "Sleep" }) {
			wrong = append(wrong, use+": a test waits on a condition or an injected clock, it does not sleep")
		}
	}
	return wrong
}
