package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// Names are what the tree declares, as far as pages name it.
type Names struct {
	Tests     map[string]bool   // TestX, FuzzX, BenchmarkX, ExampleX
	Constants map[string]string // package.Name to its expression as written
	Limits    []string          // of Constants: the exported ones that bound something, by their names
}

// ReadNames reads the declarations of every Go file of the tree.
func ReadNames(root fs.FS) (*Names, error) {
	n := &Names{Tests: map[string]bool{}, Constants: map[string]string{}}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && name != "."):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		return n.add(name, src)
	})
	return n, err
}

var testName = regexp.MustCompile(`^(Test|Fuzz|Benchmark|Example)[A-Z]`)

func (n *Names) add(name string, src []byte) error {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, name, src, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if testName.MatchString(d.Name.Name) {
				n.Tests[d.Name.Name] = true
			}
		case *ast.GenDecl:
			if d.Tok == token.CONST && !strings.HasSuffix(name, "_test.go") {
				n.addConstants(f.Name.Name, d, !strings.HasPrefix(name, "internal/"))
			}
		}
	}
	return nil
}

// addConstants notes constants; those of the checks on the tree itself bound nothing.
func (n *Names) addConstants(pkg string, d *ast.GenDecl, bounding bool) {
	for _, spec := range d.Specs {
		s := spec.(*ast.ValueSpec) // a const declaration holds nothing else
		for i, name := range s.Names {
			if i < len(s.Values) {
				n.addConstant(pkg+"."+name.Name, source(s.Values[i]), bounding)
			}
		}
	}
}

// limitName is how constants that bound something are named; text and what holds no number is none.
var limitName = regexp.MustCompile(`\.(Max|Min|Default)[A-Z]`)

func (n *Names) addConstant(name, value string, bounding bool) {
	n.Constants[name] = value
	if bounding && limitName.MatchString(name) && !strings.HasPrefix(value, `"`) {
		n.Limits = append(n.Limits, name)
	}
}

func source(e ast.Expr) string {
	var b strings.Builder
	_ = printer.Fprint(&b, token.NewFileSet(), e) // a strings.Builder takes every write
	return b.String()
}

var (
	namedTest = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`)
	link      = regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)
	limit     = regexp.MustCompile("(?m)^\\| `([a-z]+\\.[A-Za-z]+)` \\| `([^`]+)` \\|")
)

// MissingTests lists the tests that a page names and the tree lacks (invariant 3).
func (n *Names) MissingTests(page string) (missing []string) {
	for _, name := range namedTest.FindAllString(page, -1) {
		if !n.Tests[name] {
			missing = append(missing, name)
		}
	}
	return missing
}

// UntestedClaims lists the rows of a page's tables with a column "checked by" that name no test there
// (invariant 3).
func UntestedClaims(page string) (untested []string) {
	checked := false
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		last := strings.TrimSpace(cells[len(cells)-1])
		switch {
		case !strings.HasPrefix(line, "|"):
			checked = false
		case last == "checked by":
			checked = true
		case checked && last != "---" && !namedTest.MatchString(last):
			untested = append(untested, strings.TrimSpace(cells[0]))
		}
	}
	return untested
}

// BrokenLinks lists the relative links of a page that lead to no file (invariant 2).
func BrokenLinks(root fs.FS, file, page string) (broken []string) {
	for _, m := range link.FindAllStringSubmatch(page, -1) {
		if _, err := fs.Stat(root, path.Join(path.Dir(file), m[1])); err != nil {
			broken = append(broken, m[1])
		}
	}
	return broken
}

// UnlistedLimits lists the limits of the code that the page lacks (invariant 4).
func (n *Names) UnlistedLimits(page string) (unlisted []string) {
	for _, name := range n.Limits {
		if !strings.Contains(page, "\n| `"+name+"` |") && !strings.HasPrefix(page, "| `"+name+"` |") {
			unlisted = append(unlisted, name)
		}
	}
	return unlisted
}

// WrongLimits lists the rows of a page's tables, | `package.Name` | `expression` | ..., that differ
// from the code (invariant 4).
func (n *Names) WrongLimits(page string) (wrong []string) {
	for _, row := range limit.FindAllStringSubmatch(page, -1) {
		if value := n.Constants[row[1]]; value != row[2] {
			wrong = append(wrong, fmt.Sprintf("%s is %q in the page and %q in the code", row[1], row[2], value))
		}
	}
	return wrong
}
