package config

import (
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/theriac-db/theriac/kv"
)

const (
	// FileFlag is the flag, and with EnvPrefix the variable, that names the configuration file.
	FileFlag = "config"
	// EnvPrefix starts every environment variable that is a setting.
	EnvPrefix = "THERIAC_"
	// MaxFile bounds a configuration file, in bytes.
	MaxFile = 1 << 20

	settingAnnotation = "theriac.setting"
)

// FileFlagUsage describes the flag that names the file; commands register it beside their settings.
const FileFlagUsage = "configuration file in YAML: long flag names as keys"

// mark makes every flag that fs holds a setting: one that the file and the environment may give.
func mark(fs *pflag.FlagSet) {
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Annotations == nil {
			f.Annotations = map[string][]string{}
		}
		f.Annotations[settingAnnotation] = nil
	})
}

// IsSetting reports whether the file and the environment may give this flag.
func IsSetting(f *pflag.Flag) bool {
	_, ok := f.Annotations[settingAnnotation]
	return ok
}

// EnvName is the environment variable of a setting.
func EnvName(name string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// Names lists the settings of all commands, sorted.
func Names() []string {
	fs := pflag.NewFlagSet("all", pflag.ContinueOnError)
	new(Client).Register(fs)
	serve := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	new(Serve).Register(serve)
	fs.AddFlagSet(serve) // what both have, it has once
	var names []string
	fs.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	slices.Sort(names)
	return names
}

// Load gives the settings in fs that the command line left alone their values from the environment
// (in the form of os.Environ) or else from the configuration file. After it, a flag's Changed says
// that some source set it.
func Load(fs *pflag.FlagSet, env []string) error {
	variables, err := readEnv(env)
	if err != nil {
		return err
	}
	name := variables[FileFlag]
	if f := fs.Lookup(FileFlag); f != nil && f.Changed {
		name = f.Value.String()
	}
	keys, err := readFile(name)
	if err != nil {
		return err
	}
	return apply(fs, variables, keys)
}

// apply sets what is not yet set, the environment before the file.
func apply(fs *pflag.FlagSet, variables, keys map[string]string) error {
	var failed error
	fs.VisitAll(func(f *pflag.Flag) {
		if failed != nil || f.Changed || !IsSetting(f) {
			return
		}
		source := EnvName(f.Name)
		value, ok := variables[f.Name]
		if !ok {
			source = "configuration key " + f.Name
			value, ok = keys[f.Name]
		}
		if !ok {
			return
		}
		if err := fs.Set(f.Name, value); err != nil {
			failed = kv.Errorf(kv.KindInvalid, "%s: value %q: %w", source, value, reason(err))
		}
	})
	return failed
}

// Wanted says what a value should be that package strconv, whose words are for programmers, refused.
func Wanted(err error) (want string, ok bool) {
	var n *strconv.NumError
	if !errors.As(err, &n) {
		return "", false
	}
	switch {
	case n.Func == "ParseBool":
		return "want true or false", true
	case errors.Is(n, strconv.ErrRange):
		return "out of range", true
	case n.Func == "ParseFloat":
		return "want a number", true
	}
	return "want a whole number", true
}

// reason takes pflag's "invalid argument … for …" off, which names a flag that was never typed.
func reason(err error) error {
	if want, ok := Wanted(err); ok {
		return errors.New(want)
	}
	if i, ok := err.(*pflag.InvalidValueError); ok && i.Unwrap() != nil {
		return i.Unwrap()
	}
	return err
}

// readEnv picks the settings out of the environment, by setting name.
func readEnv(env []string) (map[string]string, error) {
	names := map[string]string{EnvName(FileFlag): FileFlag}
	for _, n := range Names() {
		names[EnvName(n)] = n
	}
	found := map[string]string{}
	for _, entry := range env {
		variable, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(variable, EnvPrefix) || isServiceLink(variable) {
			continue
		}
		name, ok := names[variable]
		if !ok {
			return nil, kv.Errorf(kv.KindInvalid, "environment variable %s: no such setting%s; unset it or correct it",
				variable, suggest(variable, keysOf(names)))
		}
		found[name] = value
	}
	return found, nil
}

// isServiceLink tells the variables that Kubernetes and Docker put into every container beside a
// service that happens to be called theriac. They are nobody's typing error.
func isServiceLink(variable string) bool {
	rest := strings.TrimPrefix(variable, EnvPrefix)
	return rest == "PORT" || strings.HasPrefix(rest, "PORT_") || strings.HasPrefix(rest, "SERVICE_")
}

// readFile reads the configuration file, by setting name. No name: no settings.
func readFile(name string) (map[string]string, error) {
	if name == "" {
		return nil, nil
	}
	text, err := readBounded(name, MaxFile)
	if err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "configuration file: %w", err)
	}
	keys, err := parseFile(text)
	if err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "configuration file %s: %w", name, err)
	}
	return keys, nil
}

// readBounded reads a whole file of at most limit bytes.
func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, kv.Errorf(kv.KindTooLarge, "%s is larger than %d bytes", name, limit)
	}
	return text, nil
}

// parseFile reads one YAML mapping of setting names to scalars or lists of scalars. The scalars'
// own text counts, not YAML's idea of their type: a region named no is not false.
func parseFile(text []byte) (map[string]string, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return nil, nil // empty, or comments only
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, kv.Errorf(kv.KindInvalid, "line %d: want one setting a line, as in region: eu", top.Line)
	}
	names, found := Names(), map[string]string{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		if !slices.Contains(names, key.Value) {
			return nil, kv.Errorf(kv.KindInvalid, "line %d: no setting %q%s", key.Line, key.Value, suggest(key.Value, names))
		}
		if _, twice := found[key.Value]; twice {
			return nil, kv.Errorf(kv.KindInvalid, "line %d: %s is set twice", key.Line, key.Value)
		}
		text, err := scalars(value)
		if err != nil {
			return nil, err
		}
		found[key.Value] = text
	}
	return found, nil
}

// scalars is the text of a scalar, or of a list of scalars with commas between.
func scalars(n *yaml.Node) (string, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value, nil
	case yaml.SequenceNode:
		var parts []string
		for _, c := range n.Content {
			if c.Kind != yaml.ScalarNode {
				return "", kv.Errorf(kv.KindInvalid, "line %d: want a plain value in this list", c.Line)
			}
			parts = append(parts, c.Value)
		}
		return strings.Join(parts, ","), nil
	}
	return "", kv.Errorf(kv.KindInvalid, "line %d: want a plain value or a list of them", n.Line)
}

func keysOf(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// suggest is "; did you mean X?" for the closest of names, or nothing when none is close.
func suggest(word string, names []string) string {
	best, bestDistance := "", 1+len(word)/3
	for _, n := range names {
		if d := distance(word, n); d < bestDistance {
			best, bestDistance = n, d
		}
	}
	if best == "" {
		return "; docs/reference/configuration.md lists all settings"
	}
	return "; did you mean " + best + "?"
}

// distance is the number of single-byte edits between two words (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
