package tree

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Rules is what imports.txt says.
type Rules struct {
	pure        []string
	packages    map[string][]string // what each may import of ours
	tests       map[string][]string // what its tests may import besides
	modules     map[string][]string // homes by import path
	testModules map[string][]string
	calls       map[string][]string // who must call PACKAGE.FUNC
}

// ParseRules reads imports.txt. A package may name only packages listed above it.
func ParseRules(r io.Reader) (*Rules, error) {
	rules := &Rules{packages: map[string][]string{}, tests: map[string][]string{},
		modules: map[string][]string{}, testModules: map[string][]string{}, calls: map[string][]string{}}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		if err := rules.line(line); err != nil {
			return nil, fmt.Errorf("imports.txt line %d: %w", n, err)
		}
	}
	return rules, lines.Err()
}

func (r *Rules) line(line string) error {
	verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if verb == "pure" {
		r.pure = append(r.pure, strings.Fields(rest)...)
		return nil
	}
	name, list, found := strings.Cut(rest, ":")
	name = strings.TrimSpace(name)
	if !found || name == "" {
		return fmt.Errorf("want %q, got %q", "VERB NAME: ITEM...", line)
	}
	items := strings.Fields(list)
	switch verb {
	case "package":
		return r.addPackage(name, items)
	case "tests":
		return addOnce(r.tests, name, items)
	case "module":
		return addOnce(r.modules, name, items)
	case "testmodule":
		return addOnce(r.testModules, name, items)
	case "calls":
		return addOnce(r.calls, name, items)
	}
	return fmt.Errorf("unknown word %q", verb)
}

func (r *Rules) addPackage(name string, imports []string) error {
	for _, i := range imports {
		if _, listed := r.packages[i]; !listed {
			return fmt.Errorf("package %s imports %s, which is not listed above it", name, i)
		}
	}
	return addOnce(r.packages, name, imports)
}

func addOnce(to map[string][]string, name string, items []string) error {
	if _, twice := to[name]; twice {
		return fmt.Errorf("%s is listed twice", name)
	}
	to[name] = items
	return nil
}

// allows reports whether pkg may import the package of ours named target.
func (r *Rules) allows(pkg, target string, test bool) bool {
	return slices.Contains(r.packages[pkg], target) ||
		test && (target == pkg || slices.Contains(r.tests[pkg], target))
}

// allowsModule reports whether pkg is a home of the third-party import path.
func (r *Rules) allowsModule(pkg, path string, test bool) bool {
	return covers(homes(r.modules, path), pkg) || test && covers(homes(r.testModules, path), pkg)
}

// homes are those of the longest listed path that path lies in.
func homes(modules map[string][]string, path string) []string {
	for {
		if h, listed := modules[path]; listed {
			return h
		}
		end := strings.LastIndexByte(path, '/')
		if end < 0 {
			return nil
		}
		path = path[:end]
	}
}

func covers(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		below, whole := strings.CutSuffix(p, "/...")
		return p == "*" || p == pkg || whole && (pkg == below || strings.HasPrefix(pkg, below+"/"))
	})
}
