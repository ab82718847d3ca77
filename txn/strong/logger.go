package strong

import (
	"fmt"

	"go.etcd.io/raft/v3"
)

// broken is what raft panics with when one of its invariants does not hold: a member that lost its log, or
// a bug. The group ends; the rest of the node goes on.
type broken string

// logger passes on what raft warns of. What it does is seen in its status.
type logger struct {
	logf func(format string, args ...any)
}

var _ raft.Logger = logger{}

func (logger) Debug(...any)          {}
func (logger) Debugf(string, ...any) {}
func (logger) Info(...any)           {}
func (logger) Infof(string, ...any)  {}

func (l logger) Warning(v ...any)                 { l.logf("raft: %s", fmt.Sprint(v...)) }
func (l logger) Warningf(format string, v ...any) { l.logf("raft: "+format, v...) }
func (l logger) Error(v ...any)                   { l.logf("raft: %s", fmt.Sprint(v...)) }
func (l logger) Errorf(format string, v ...any)   { l.logf("raft: "+format, v...) }

func (logger) Fatal(v ...any)                 { panic(broken(fmt.Sprint(v...))) }
func (logger) Fatalf(format string, v ...any) { panic(broken(fmt.Sprintf(format, v...))) }
func (logger) Panic(v ...any)                 { panic(broken(fmt.Sprint(v...))) }
func (logger) Panicf(format string, v ...any) { panic(broken(fmt.Sprintf(format, v...))) }
