package node

import "github.com/theriac-db/theriac/clock"

// Records returns encoded log records of a lane with timestamps above after, in order, at least one if
// there is any, and no more once they hold maxBytes; none while the data is taken anew. It matches
// kv.ErrTooOld where the log no longer reaches back that far. It is for simulations, which look at what
// a node has written without disturbing it.
func (n *Node) Records(lane clock.Lane, after clock.Timestamp, maxBytes int) ([][]byte, error) {
	r, done := n.enter()
	if done == nil {
		return nil, nil
	}
	defer done()
	return r.store.Log(lane, after, maxBytes)
}
