package node

import (
	"sync"

	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn"
)

// reason is why a node refuses writes. Each comes and goes by itself; the first one is told.
type reason int

const (
	hasFailed   reason = iota // for good
	notYetWhole               // the lane is not complete, or not started
	clockIsOff
	fellBehind
	isRemoved // for good
	reasons
)

// refusals keeps the reasons apart: the end of one must not lift another.
type refusals struct {
	mu   sync.Mutex
	list [reasons]*kv.Error
}

// refuseFor refuses writes for a reason, or, with nil, for that reason no longer.
func (n *run) refuseFor(why reason, err *kv.Error) {
	n.refusals.mu.Lock()
	defer n.refusals.mu.Unlock()
	n.refusals.list[why] = err
	n.tellRefusals()
}

// refusesFor tells whether writes are refused for a reason.
func (n *run) refusesFor(why reason) bool {
	n.refusals.mu.Lock()
	defer n.refusals.mu.Unlock()
	return n.refusals.list[why] != nil
}

// coordinate sets the coordinator, which hears of the reasons that came before it: the store may fail
// on its own goroutines while the node starts.
func (n *run) coordinate(c *txn.Coordinator) {
	n.refusals.mu.Lock()
	defer n.refusals.mu.Unlock()
	n.Coordinator = c
	n.tellRefusals()
}

// tellRefusals tells the coordinator the first reason. refusals.mu is held.
func (n *run) tellRefusals() {
	if n.Coordinator == nil {
		return
	}
	for _, err := range n.refusals.list {
		if err != nil {
			n.Refuse(err)
			return
		}
	}
	n.Refuse(nil)
}
