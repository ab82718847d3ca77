package crdt

import (
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// FlagEW is a flag that is off at first; enable wins over a concurrent disable.
//
// Operations: enable, disable, reset (the same as disable).
//
// Concurrency: the flag is on while an enable is uncovered. A disable or reset covers the enables
// that it has seen. A disabled flag is absent.
//
// Encoding of operations:
//
//	1     enable, covers nothing
//	2     disable; below the horizon nothing is left of it
//
// Of the uncovered enables of one origin below the horizon the latest is kept.
//
// Source: Baquero et al., arXiv 1710.04469, section 4 (enable-wins flag).
const FlagEW kv.Type = 4

func init() {
	register(FlagEW, definition{name: "flag-ew", rules: &leafRules{
		encode:   encodeFlag,
		classify: classifyFlagEW,
		fold:     foldFlagEW,
		settle:   settleEnables,
		combine:  func(a, _ []byte) ([]byte, bool) { return a, true },
	}})
}

func classifyFlagEW(op []byte) class {
	switch {
	case len(op) != 1:
		return malformed
	case op[0] == opEnable:
		return add
	case op[0] == opDisable:
		return vanish
	}
	return malformed
}

func foldFlagEW(items []byte, at clock.Vector) (kv.Value, error) {
	on, _, err := marks(FlagEW, items, at)
	if err != nil {
		return kv.Value{}, err
	}
	return kv.Value{Type: FlagEW, Present: on, Flag: on}, nil
}
