package cli

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/theriac-db/theriac/cmd/theriac/pathspec"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// verb is one thing that can be done to a key: a command, and a line of a txn file.
type verb struct {
	group, name string // counter add; the group is empty for get and del
	args        string // behind the verb, for help
	low, high   int    // arguments, the key included; high -1: any number
	types       []kv.Type
	compare     bool // takes --if and --if-absent
	short, long string
	example     string
	build       func(in input) (ops []kv.Op, query *kv.Query, err error)
}

func (v *verb) title() string {
	if v.group == "" {
		return v.name
	}
	return v.group + " " + v.name
}

// input is what a verb is given.
type input struct {
	object  kv.Object
	args    []string // behind the key, decoded
	escaped bool     // decode %XX
	raw     []byte   // the value, where it comes from a file; nil: it is among the arguments
	expect  *kv.Expectation
}

// text decodes one argument that may be any bytes.
func (in input) text(s string) (string, error) {
	if !in.escaped {
		return s, nil
	}
	return pathspec.Unescape(s)
}

// statement is one verb with its arguments, checked.
type statement struct {
	verb   *verb
	object kv.Object
	ops    []kv.Op
	query  *kv.Query
}

// verbFlags are the flags that belong to verbs and not to the connection.
type verbFlags struct {
	kind     kv.Type
	ifValue  string
	ifAbsent bool
	escaped  bool
}

func (f *verbFlags) register(fs *pflag.FlagSet, v *verb) {
	if v.group != "" {
		f.kind = v.types[0]
	}
	if len(v.types) > 1 {
		addTypeFlag(fs, &f.kind, v.types)
	}
	if v.compare {
		fs.StringVar(&f.ifValue, "if", "", "write only if the register holds this `VALUE` in the region that commits")
		fs.BoolVar(&f.ifAbsent, "if-absent", false, "write only if the register has no value in the region that commits")
	}
	fs.BoolVar(&f.escaped, "escaped", false, "keys, elements and values on the command line are escaped: any byte as %XX, a percent sign as %25")
}

// value is the last argument, or what was read instead: --escaped is about the command line.
func (in input) value() (string, error) {
	if in.raw != nil {
		return string(in.raw), nil
	}
	return in.text(in.args[len(in.args)-1])
}

// statement checks and builds (invariant 1: nothing is sent for it).
func (v *verb) statement(fs *pflag.FlagSet, f verbFlags, bucket kv.Bucket, args []string) (statement, error) {
	return v.statementFrom(fs, f, bucket, args, nil)
}

// statementFrom is statement with a value that was read from a file.
func (v *verb) statementFrom(fs *pflag.FlagSet, f verbFlags, bucket kv.Bucket, args []string, raw []byte) (statement, error) {
	in := input{args: args[1:], escaped: f.escaped, raw: raw}
	key, err := in.text(args[0])
	if err != nil {
		return statement{}, err
	}
	in.object = kv.Object{Bucket: bucket, Key: kv.Key(key), Type: f.kind}
	if v.compare {
		if in.expect, err = f.expectation(fs, in); err != nil {
			return statement{}, err
		}
	}
	s := statement{verb: v, object: in.object}
	if s.ops, s.query, err = v.build(in); err != nil {
		return statement{}, err
	}
	if err := s.checkBucket(); err != nil {
		return statement{}, err
	}
	return s, s.check()
}

// checkBucket keeps data out of the buckets that exports and digests leave out. What is there may be
// read, and deleted whole.
func (s *statement) checkBucket() error {
	if len(s.ops) == 0 || s.verb.name == "del" || !s.object.Bucket.Reserved() {
		return nil
	}
	return reservedError(s.object.Bucket)
}

func (f verbFlags) expectation(fs *pflag.FlagSet, in input) (*kv.Expectation, error) {
	given := fs.Changed("if")
	switch {
	case given && f.ifAbsent:
		return nil, kv.Errorf(kv.KindInvalid, "--if and --if-absent exclude each other")
	case f.ifAbsent:
		return &kv.Expectation{Absent: true}, nil
	case given:
		value, err := in.text(f.ifValue)
		return &kv.Expectation{Value: []byte(value)}, err
	}
	return nil, nil
}

// check holds operations and queries to the rules of their types.
func (s *statement) check() error {
	if len(s.ops) > kv.MaxOps {
		return kv.Errorf(kv.KindTooLarge, "%d operations, want at most %d in one transaction", len(s.ops), kv.MaxOps)
	}
	for _, op := range s.ops {
		if _, err := crdt.Resolve(op); err != nil {
			return err
		}
	}
	if s.query == nil {
		return nil
	}
	_, err := crdt.Address(s.query.Object, s.query.Path)
	return err
}

var (
	counterTypes  = []kv.Type{crdt.Counter}
	registerTypes = []kv.Type{crdt.RegisterLWW, crdt.RegisterMV}
	flagTypes     = []kv.Type{crdt.FlagEW, crdt.FlagDW}
	setTypes      = []kv.Type{crdt.SetAW, crdt.SetRW, crdt.SetGO}
	mapTypes      = []kv.Type{crdt.Map, crdt.MapGO}
)

// verbGroups are the parents of verbs.
var verbGroups = []struct{ name, short string }{
	{"counter", "numbers that concurrent additions sum up in"},
	{"register", "values that are replaced as a whole"},
	{"flag", "what is on or off"},
	{"set", "sets of elements"},
	{"map", "maps of fields of any type, nested to any depth up to 32"},
}

// verbs is the table of all of them, in the order of help.
var verbs = slices.Concat(counterVerbs, registerVerbs, flagVerbs, setVerbs, mapVerbs, anyVerbs)

// findVerb finds the verb that words start with, and how many words it took.
func findVerb(words []string) (*verb, int) {
	for i := range verbs {
		v := &verbs[i]
		switch {
		case v.group == "" && words[0] == v.name:
			return v, 1
		case v.group != "" && len(words) > 1 && words[0] == v.group && words[1] == v.name:
			return v, 2
		}
	}
	return nil, 0
}

var counterVerbs = []verb{{
	group: "counter", name: "add", args: "KEY [N]", low: 1, high: 2, types: counterTypes,
	short:   "add N (default 1) to a counter",
	long:    "Adds a whole number, which may be negative, to a counter. A counter that was never written is 0.",
	example: "theriac counter add likes\ntheriac counter add stock -3",
	build: func(in input) ([]kv.Op, *kv.Query, error) {
		n := "1"
		if len(in.args) > 0 {
			n = in.args[0]
		}
		return increment(in.object, nil, n)
	},
}, {
	group: "counter", name: "get", args: "KEY", low: 1, high: 1, types: counterTypes,
	short: "print a counter; 0 when it was never written", build: readAll,
}}

func increment(o kv.Object, p kv.Path, text string) ([]kv.Op, *kv.Query, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, nil, kv.Errorf(kv.KindInvalid, "%q: want a whole number of 64 bits", text)
	}
	return []kv.Op{{Object: o, Path: p, Verb: kv.VerbIncrement, Int: n}}, nil, nil
}

func readAll(in input) ([]kv.Op, *kv.Query, error) { return nil, &kv.Query{Object: in.object}, nil }

var registerVerbs = []verb{{
	group: "register", name: "set", args: "KEY VALUE", low: 2, high: 2, types: registerTypes, compare: true,
	short: "assign a value to a register",
	long: `Assigns a value. Of concurrent values register-lww keeps the last, register-mv all of them.

With --if or --if-absent it compares and sets: nothing is written, and the exit code is 6, unless the
register-lww holds the value (or none) in the region that commits. Two regions that compare at the same
time can both succeed; the last write wins then.`,
	example: "theriac register set greeting 'hello world'\ntheriac register set lock me --if-absent",
	build: func(in input) ([]kv.Op, *kv.Query, error) {
		value, err := in.value()
		return []kv.Op{{Object: in.object, Verb: kv.VerbAssign, Data: []byte(value), Expect: in.expect}}, nil, err
	},
}, {
	group: "register", name: "get", args: "KEY", low: 1, high: 1, types: registerTypes,
	short: "print a register's value, or values", build: readAll,
}}

var flagVerbs = []verb{
	{group: "flag", name: "enable", args: "KEY", low: 1, high: 1, types: flagTypes, short: "turn a flag on", build: only(kv.VerbEnable)},
	{group: "flag", name: "disable", args: "KEY", low: 1, high: 1, types: flagTypes, short: "turn a flag off", build: only(kv.VerbDisable)},
	{group: "flag", name: "get", args: "KEY", low: 1, high: 1, types: flagTypes, short: "print true or false", build: readAll},
}

func only(verb kv.Verb) func(in input) ([]kv.Op, *kv.Query, error) {
	return func(in input) ([]kv.Op, *kv.Query, error) {
		return []kv.Op{{Object: in.object, Verb: verb}}, nil, nil
	}
}

var setVerbs = []verb{{
	group: "set", name: "add", args: "KEY ELEMENT...", low: 2, high: -1, types: setTypes,
	short: "add elements to a set", example: "theriac set add fruit apple pear", build: elements(kv.VerbAdd),
}, {
	group: "set", name: "remove", args: "KEY ELEMENT...", low: 2, high: -1, types: setTypes[:2],
	short: "remove elements from a set", build: elements(kv.VerbRemove),
}, {
	group: "set", name: "members", args: "KEY", low: 1, high: 1, types: setTypes,
	short: "print a set's elements, one a line, in byte order", build: readAll,
}, {
	group: "set", name: "contains", args: "KEY ELEMENT", low: 2, high: 2, types: setTypes,
	short: "print whether a set holds an element: true or false",
	build: func(in input) ([]kv.Op, *kv.Query, error) {
		e, err := in.text(in.args[0])
		return nil, &kv.Query{Object: in.object, Kind: kv.QueryContains, Data: []byte(e)}, err
	},
}}

func elements(verb kv.Verb) func(in input) ([]kv.Op, *kv.Query, error) {
	return func(in input) ([]kv.Op, *kv.Query, error) {
		ops, err := elementOps(in, nil, verb, in.args)
		return ops, nil, err
	}
}

func elementOps(in input, p kv.Path, verb kv.Verb, args []string) ([]kv.Op, error) {
	var ops []kv.Op
	for _, a := range args {
		e, err := in.text(a)
		if err != nil {
			return nil, err
		}
		ops = append(ops, kv.Op{Object: in.object, Path: p, Verb: verb, Data: []byte(e)})
	}
	return ops, nil
}

const pathHelp = `PATH leads to a field: NAME:TYPE, with a slash between the fields of nested maps. In a name a slash, a
colon and a percent sign are written %2F, %3A and %25; any byte may be written %XX.`

var mapVerbs = []verb{{
	group: "map", name: "set", args: "KEY PATH VALUE [PATH VALUE]...", low: 3, high: -1, types: mapTypes,
	short: "write fields of a map, all at once",
	long: `Writes fields, all in one transaction: a register is assigned VALUE, a counter has VALUE added, a set has
the element VALUE added, and a flag is enabled by true and disabled by false.

` + pathHelp,
	example: "theriac map set bash Version:register-lww 5.2 Depends:set-aw libc6\ntheriac map set user/7 address:map/city:register-lww Paris",
	build:   mapSet,
}, {
	group: "map", name: "get", args: "KEY [PATH]", low: 1, high: 2, types: mapTypes,
	short: "print a map, one leaf a line, or one field of it",
	long:  "Prints the path of each leaf and its value, or the value of one field.\n\n" + pathHelp,
	build: func(in input) ([]kv.Op, *kv.Query, error) {
		if len(in.args) == 0 {
			return readAll(in)
		}
		p, err := pathspec.Parse(in.args[0])
		return nil, &kv.Query{Object: in.object, Path: p}, err
	},
}, {
	group: "map", name: "remove", args: "KEY PATH [ELEMENT...]", low: 2, high: -1, types: mapTypes,
	short: "remove a field with all below it, or elements of a set in it",
	long:  "Removes a field. With elements it removes these from the set at PATH instead.\n\n" + pathHelp,
	build: mapRemove,
}}

func mapSet(in input) ([]kv.Op, *kv.Query, error) {
	if len(in.args)%2 != 0 {
		return nil, nil, kv.Errorf(kv.KindInvalid, "path %q has no value behind it", in.args[len(in.args)-1])
	}
	var ops []kv.Op
	for i := 0; i < len(in.args); i += 2 {
		op, err := in.write(in.args[i], in.args[i+1])
		if err != nil {
			return nil, nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil, nil
}

// write is the operation that map set means for a field's type.
func (in input) write(path, argument string) (kv.Op, error) {
	p, err := pathspec.Parse(path)
	if err != nil {
		return kv.Op{}, err
	}
	value, err := in.text(argument)
	if err != nil {
		return kv.Op{}, err
	}
	op := kv.Op{Object: in.object, Path: p, Data: []byte(value)}
	switch t := p[len(p)-1].Type; {
	case t == crdt.Counter:
		ops, _, err := increment(in.object, p, value)
		if err != nil {
			return kv.Op{}, err
		}
		return ops[0], nil
	case slices.Contains(flagTypes, t):
		return in.toggle(p, value)
	case slices.Contains(setTypes, t):
		op.Verb = kv.VerbAdd
	case slices.Contains(registerTypes, t):
		op.Verb = kv.VerbAssign
	default:
		return kv.Op{}, kv.Errorf(kv.KindInvalid, "%s is a %s: name a field in it, as in %s/NAME:TYPE", path, crdt.Name(t), path)
	}
	return op, nil
}

func (in input) toggle(p kv.Path, value string) (kv.Op, error) {
	switch value {
	case "true":
		return kv.Op{Object: in.object, Path: p, Verb: kv.VerbEnable}, nil
	case "false":
		return kv.Op{Object: in.object, Path: p, Verb: kv.VerbDisable}, nil
	}
	return kv.Op{}, kv.Errorf(kv.KindInvalid, "%s: want true or false, not %q", pathspec.Printed(p), value)
}

func mapRemove(in input) ([]kv.Op, *kv.Query, error) {
	p, err := pathspec.Parse(in.args[0])
	if err != nil {
		return nil, nil, err
	}
	if len(in.args) == 1 {
		return []kv.Op{{Object: in.object, Path: p, Verb: kv.VerbReset}}, nil, nil
	}
	if !slices.Contains(setTypes, p[len(p)-1].Type) {
		return nil, nil, kv.Errorf(kv.KindInvalid, "%s is no set: it has no elements to remove", in.args[0])
	}
	ops, err := elementOps(in, p, kv.VerbRemove, in.args[1:])
	return ops, nil, err
}

// anyVerbs are for every type. On the command line they also go without --type, which takes more
// than one call; see getCommand and delCommand.
var anyVerbs = []verb{
	{name: "get", args: "KEY", low: 1, high: 1, types: crdt.Types(), build: needType(readAll)},
	{name: "del", args: "KEY", low: 1, high: 1, types: crdt.Types(), build: needType(only(kv.VerbReset))},
}

func needType(build func(in input) ([]kv.Op, *kv.Query, error)) func(in input) ([]kv.Op, *kv.Query, error) {
	return func(in input) ([]kv.Op, *kv.Query, error) {
		if in.object.Type == 0 {
			return nil, nil, kv.Errorf(kv.KindInvalid, "name the object's type: --type %s", fmt.Sprint(crdt.Name(crdt.Counter)))
		}
		return build(in)
	}
}
