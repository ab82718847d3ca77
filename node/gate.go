package node

import "sync/atomic"

// gate lets calls in until it is shut, which waits until the last one has left. That wait is on a channel, so
// that in a bubble of testing/synctest, whose time passes only while every goroutine waits for something that is
// not a mutex, the calls inside can wait for a disk meanwhile; a sync.RWMutex would keep the time from passing.
// A semaphore.Weighted would do as well, at twice the cost to each call.
type gate struct {
	inside atomic.Int64  // calls, and those that are about to be turned away; less isShut while it is shut
	left   chan struct{} // gets one element when the last one has left a gate that is shut
}

// isShut is more than there can be calls.
const isShut = 1 << 40

// newGate returns a gate that is open.
func newGate() *gate { return &gate{left: make(chan struct{}, 1)} }

// enter lets a call in, which must leave then; or it turns it away, since the gate is shut.
func (g *gate) enter() bool {
	if g.inside.Add(1) > 0 {
		return true
	}
	g.leave()
	return false
}

func (g *gate) leave() {
	if g.inside.Add(-1) != -isShut {
		return
	}
	select {
	case g.left <- struct{}{}:
	default:
	}
}

// shut turns away whoever comes from now on, and returns when nobody is inside. It is to be opened before it is
// shut again.
func (g *gate) shut() {
	for n := g.inside.Add(-isShut); n != -isShut; n = g.inside.Load() {
		<-g.left // it comes too early where somebody was turned away before
	}
}

func (g *gate) open() { g.inside.Add(isShut) }
