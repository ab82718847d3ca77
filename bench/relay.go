package bench

import (
	"net"
	"sync"
	"sync/atomic"
)

// relay passes connections on to another address and counts the bytes, of both directions.
type relay struct {
	listener net.Listener
	target   atomic.Pointer[string]
	bytes    atomic.Int64
	wait     sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

func newRelay() (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: l}
	r.wait.Go(r.accept)
	return r, nil
}

func (r *relay) address() string { return r.listener.Addr().String() }

// to sets where connections go; until then they are closed.
func (r *relay) to(address string) { r.target.Store(&address) }

func (r *relay) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		target := r.target.Load()
		if target == nil {
			conn.Close()
			continue
		}
		onward, err := net.Dial("tcp", *target)
		if err != nil {
			conn.Close()
			continue
		}
		r.mu.Lock()
		r.conns = append(r.conns, conn, onward)
		r.mu.Unlock()
		r.wait.Go(func() { r.copy(onward, conn) })
		r.wait.Go(func() { r.copy(conn, onward) })
	}
}

// copy ends both connections when one does.
func (r *relay) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		r.bytes.Add(int64(n))
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// close ends all connections and waits.
func (r *relay) close() error {
	err := r.listener.Close()
	r.mu.Lock()
	for _, c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.wait.Wait()
	return err
}
