package crdt

import (
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

// FlagDW is a flag that is off at first; disable wins over a concurrent enable.
//
// Operations: enable, disable, reset.
//
// Concurrency: enable, disable and reset cover the enables and disables that they have seen. The
// flag is on while an enable is uncovered and no disable is. So a reset is no disable: concurrent
// enables live. A disabled flag is absent.
//
// Encoding of operations:
//
//	1     enable, an override
//	2     disable, an override
//
// A disable must outlive the enables that it beats: it goes once it and every enable beside it that
// has not seen it are settled.
//
// Source: Baquero et al., arXiv 1710.04469, section 4 (disable-wins flag). We differ in having reset
// beside disable.
const FlagDW kv.Type = 5

func init() {
	register(FlagDW, definition{name: "flag-dw", rules: &leafRules{
		encode:   encodeFlag,
		classify: classifyFlagDW,
		fold:     foldFlagDW,
		settle:   settleFlagDW,
	}})
}

func classifyFlagDW(op []byte) class {
	if len(op) == 1 && (op[0] == opEnable || op[0] == opDisable) {
		return keep
	}
	return malformed
}

func foldFlagDW(items []byte, at clock.Vector) (kv.Value, error) {
	enabled, disabled, err := marks(FlagDW, items, at)
	if err != nil {
		return kv.Value{}, err
	}
	on := enabled && (!disabled || mutant.On(mutant.DisableLosesToEnable))
	return kv.Value{Type: FlagDW, Present: on, Flag: on}, nil
}

// settleFlagDW works on what is uncovered below the horizon, so no enable here has seen a disable
// that is here, and every effect above the horizon has seen all that is settled.
func settleFlagDW(below []entry) []entry {
	enables, disables := split(below)
	if len(disables) == 0 {
		return settleEnables(enables)
	}
	// The flag is off. A settled enable has lost for good: whatever covers the disables later has
	// seen it too.
	open := latest(unsettled(enables))
	blocking := latest(unsettled(disables))
	if len(blocking) == 0 && len(open) > 0 {
		blocking = disables[len(disables)-1:] // settled, but an enable that it beats is not
	}
	return inOrder(append(open, blocking...))
}
