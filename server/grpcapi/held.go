package grpcapi

import (
	"sync/atomic"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/kv"
)

// maxHeld bounds the bytes of the requests that are being carried out, which may take as long as what a
// token names is out of reach. One more is refused, unless it is the only one.
const maxHeld = 256 << 20

// stepCost is about what an operation or query takes beside its bytes.
const stepCost = 256

// held counts those bytes.
type held struct{ bytes atomic.Int64 }

// take makes room for a request. What became of the earlier tries of a retry a refusal does not say.
func (h *held) take(n int64, retry bool) error {
	now := h.bytes.Add(n)
	if now <= maxHeld || now == n {
		return nil
	}
	h.bytes.Add(-n)
	e := kv.Errorf(kv.KindOverloaded, "requests of %d bytes are under way at this node; send it again later", now-n)
	e.RetryAfter = pipeHint
	if retry {
		e = e.WithOutcome(kv.OutcomeUnknown)
	}
	return e
}

func (h *held) give(n int64) { h.bytes.Add(-n) }

// weight is about what a request's steps take in memory.
func weight(ops []*pb.Operation, queries []*pb.Query) (n int64) {
	for _, op := range ops {
		n += stepCost + int64(len(op.GetKey())+len(op.GetAssign())+len(op.GetAdd())+len(op.GetRemove())+len(op.GetExpect().GetValue()))
		n += pathWeight(op.GetPath())
	}
	for _, q := range queries {
		n += stepCost + int64(len(q.GetKey())+len(q.GetContains())+len(q.GetPage().GetAfter())) + pathWeight(q.GetPath())
	}
	return n
}

func pathWeight(path []*pb.Step) (n int64) {
	for _, s := range path {
		n += stepCost + int64(len(s.GetName()))
	}
	return n
}
