package workload

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/history"
)

// finalReads is how many objects a final transaction reads at most.
const finalReads = 100

// Finish reads everything that was written in every region, at a snapshot that includes what all of
// them showed when it was called. Call it once all faults are healed and Load has returned. It first
// waits out what may still be on its way of a transaction of unknown outcome. It tries until ctx ends,
// and its error says which region could not be read.
func (r *Run) Finish(ctx context.Context) error {
	r.waitOut(ctx)
	var all client.Token
	for _, name := range r.config.Regions {
		token, err := r.shown(ctx, name)
		if err == nil {
			all, err = all.Join(token)
		}
		if err != nil {
			return fmt.Errorf("workload: asking region %s for what it shows in the end: %w", name, err)
		}
	}
	reads := r.written()
	for _, name := range r.config.Regions {
		process := r.record.process()
		for chunk := range slices.Chunk(reads, finalReads) {
			if err := r.readFinally(ctx, name, process, all, chunk); err != nil {
				return fmt.Errorf("workload: reading in region %s in the end: %w", name, err)
			}
		}
	}
	return nil
}

// waitOut waits until the last call of unknown outcome was given up for as long as calls take at most:
// one that is written between the final reads of two regions would make these differ.
func (r *Run) waitOut(ctx context.Context) {
	txns, _ := r.record.all()
	last := int64(math.MinInt64)
	for i := range txns {
		if txns[i].Outcome == history.Unknown {
			last = max(last, txns[i].Start)
		}
	}
	if last != math.MinInt64 {
		pause(ctx, time.Duration(last)+2*r.config.CallTimeout-r.config.Now())
	}
}

// shown is a token of all that a region shows, on its disk or not yet.
func (r *Run) shown(ctx context.Context, name string) (client.Token, error) {
	var receipt client.Receipt
	err := r.insist(ctx, func(ctx context.Context) error {
		if err := r.learnFrom(ctx, name); err != nil {
			return err
		}
		_, err := r.config.DB(name).Do(ctx, nil, nil, client.Durable(client.Applied), client.WithReceipt(&receipt))
		return err
	})
	return receipt.Token, err
}

// insist tries until there is no error, or ctx ends.
func (r *Run) insist(ctx context.Context, try func(ctx context.Context) error) error {
	for {
		limited, cancel := context.WithTimeout(ctx, r.config.CallTimeout)
		err := try(limited)
		cancel()
		if err == nil || errors.Is(err, client.ErrInvalid) {
			return err
		}
		if !pause(ctx, learnPause) {
			return err
		}
	}
}

// written are reads of all objects that anybody tried to write, in the order of their names.
func (r *Run) written() []history.Op {
	txns, _ := r.record.all()
	type object struct{ bucket, key, kind string }
	met := map[object]bool{}
	var out []history.Op
	for i := range txns {
		for j := range txns[i].Ops {
			o := &txns[i].Ops[j]
			at := object{o.Bucket, o.Key, o.Type}
			if o.Writes() && !met[at] {
				met[at] = true
				out = append(out, history.Op{Do: history.Get, Bucket: o.Bucket, Key: o.Key, Type: o.Type})
			}
		}
	}
	slices.SortFunc(out, func(a, b history.Op) int {
		if d := strings.Compare(a.Bucket, b.Bucket); d != 0 {
			return d
		}
		if d := strings.Compare(a.Key, b.Key); d != 0 {
			return d
		}
		return strings.Compare(a.Type, b.Type)
	})
	return out
}

// readFinally reads objects in one transaction, and records the try that is answered.
func (r *Run) readFinally(ctx context.Context, name string, process int, all client.Token, reads []history.Op) error {
	t := history.Txn{
		Process: process, Region: name, Level: client.LevelCausal.String(), Final: true, TokenBefore: tokenVector(all), Outcome: history.OK,
	}
	err := r.insist(ctx, func(ctx context.Context) (err error) {
		var receipt client.Receipt
		t.Start = r.now()
		p := plan{ops: reads}
		t.Ops, err = p.run(ctx, r.config.DB(name).Resume(all), []client.CallOption{client.WithReceipt(&receipt)})
		t.End, t.Snapshot, t.TokenAfter = r.now(), vector(receipt.Snapshot), tokenVector(receipt.Token)
		return err
	})
	if err == nil {
		r.record.add(t)
	}
	return err
}
