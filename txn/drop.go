package txn

import (
	"context"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/certify"
	"github.com/theriac-db/theriac/txn/strong/meta"
)

// DropBucket is kv.Service's, but that it does not wait until calls here are judged by the metadata that it leads
// to, whose version it returns.
//
// Whether the bucket holds anything is judged by what a majority has acknowledged before. The drop depends on that
// and on the session's token, as a strong transaction would: who sees it sees where the session had put elsewhere what
// was in the bucket.
func (c *Coordinator) DropBucket(ctx context.Context, req kv.DropRequest) (d kv.DroppedBucket, version uint64, err error) {
	o := kv.Options{Level: kv.LevelStrong, Token: req.Token, Wait: req.Wait}
	if err = kv.CheckDrop(req.Bucket); err == nil {
		err = c.usable(&o)
	}
	if err != nil {
		return d, 0, err
	}
	if refused := c.Refused(); refused != nil {
		return d, 0, refused
	}
	early, cancel := early(ctx, &o)
	defer cancel()
	drop, seen, err := c.judgeDrop(early, &req)
	if err != nil {
		return d, 0, err
	}
	body, err := meta.Encode(drop)
	if err != nil {
		return d, 0, err
	}
	o.Token = kv.Token{Cluster: c.cluster, Seen: seen}
	s, err := c.openStrong(early, &o, nil)
	if err != nil {
		return d, 0, err
	}
	at := nonNil(s.At())
	commit, result, err := c.command(ctx, early, s, &certify.Proposal{Kind: certify.KindCommand, Snapshot: at, Body: body})
	switch {
	case err != nil:
		return d, 0, kv.Errorf(kv.KindOf(err), "drop of bucket %q: %w", string(req.Bucket), err).WithOutcome(kv.OutcomeOf(err))
	case result.Err != nil:
		return d, 0, result.Err
	}
	d = kv.DroppedBucket{Generation: drop.Generation + 1, Receipt: c.receipt(&o, at)}
	d.Receipt.Commit = commit
	d.Receipt.Token.Seen = d.Receipt.Token.Seen.Join(clock.VectorOf(clock.Entry(commit)))
	return d, result.Version, nil
}

// judgeDrop makes the command that drops a bucket, by what it holds at seen.
func (c *Coordinator) judgeDrop(ctx context.Context, req *kv.DropRequest) (drop *meta.Drop, seen clock.Vector, err error) {
	o := kv.Options{Level: kv.LevelCausal, Token: req.Token}
	if c.regions != nil {
		o.Level = kv.LevelQuorum
	}
	s, err := c.begin(ctx, &kv.Begin{Options: o, ReadOnly: true}, nil)
	if err != nil {
		return nil, nil, err
	}
	defer s.Close()
	v := c.viewAt(nonNil(s.At()))
	holds := false
	err = v.objects(ctx, req.Bucket, "", nil, func(kv.Object) (bool, error) { holds = true; return false, nil })
	if err != nil {
		return nil, nil, err
	}
	if seen = c.receipt(&o, v.at).Token.Seen; holds && !req.WithData {
		err := kv.Errorf(kv.KindInvalid, "bucket %q holds data, which would be gone for good: say that it may be (WithData, --yes)", string(req.Bucket))
		return nil, nil, kv.WithToken(err, kv.Token{Cluster: c.cluster, Seen: seen})
	}
	return &meta.Drop{Bucket: req.Bucket, Generation: v.generations().of(req.Bucket), Ruled: !holds}, seen, nil
}

// command has a metadata command decided that commits, unless it is refused (Result.Err), and returns where. It closes the snapshot that the command
// was made at, as a strong transaction's is closed; early is commitStrong's.
func (c *Coordinator) command(ctx, early context.Context, s Snapshot, p *certify.Proposal) (commit clock.Stamp, r meta.Result, err error) {
	ticket, err := c.strong.Certify(early, p)
	if err != nil {
		s.Close()
		return commit, r, err
	}
	select {
	case <-ticket.Decided():
	case <-ctx.Done():
		c.leaving.Go(func() { c.awaitDecision(s, ticket) })
		return commit, r, gaveUp(ctx, "gave up before the regions had decided; look at what was decided, or try again", kv.OutcomeUnknown)
	}
	d, err := ticket.Decision()
	if err != nil {
		s.Close()
		return commit, r, kv.Errorf(kv.KindOf(err), "it was not seen decided: %w", err).WithOutcome(kv.OutcomeUnknown)
	}
	commit = clock.Stamp{Time: d.Time}
	if d.Commits() {
		c.leave(ctx, s, commit)
	} else {
		s.Close()
	}
	if d.Verdict != certify.Done {
		return commit, r, kv.Errorf(kv.KindUnavailable, "it was not decided (%s): try again", d.Verdict)
	}
	r, err = meta.DecodeAnswer(d.Answer)
	return commit, r, err
}
