package memkv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Store is the content that nodes serve.
type Store struct {
	mu      sync.Mutex
	content content
	buckets map[kv.Bucket]bool
	seen    clock.Vector
	last    clock.Timestamp
	written map[kv.Object]clock.Timestamp // last commit of each
	ids     map[kv.OpID]kv.Receipt
	denied  map[kv.OpID]bool
	regions int // nodes so far
	decided map[kv.Bucket]kv.DecidedRules
	rules   *kv.Rules // of decided
	changes uint64    // of decided

	generations map[kv.Bucket]uint32 // how often each was dropped
}

// cluster is the id of every Store.
var cluster = kv.ClusterID{'m', 'e', 'm', 'k', 'v'}

// New returns an empty store.
func New() *Store {
	return &Store{
		content: content{},
		buckets: map[kv.Bucket]bool{},
		written: map[kv.Object]clock.Timestamp{},
		ids:     map[kv.OpID]kv.Receipt{},
		denied:  map[kv.OpID]bool{},
		decided: map[kv.Bucket]kv.DecidedRules{},

		generations: map[kv.Bucket]uint32{},
	}
}

// Node is one node of a Store: a kv.Service.
type Node struct {
	store *Store
	name  string
	lane  clock.Lane

	incarnation uint64 // guarded by store.mu, like what follows
	lastTxn     kv.TxnID
	txns        map[kv.TxnID]*txn
}

type txn struct {
	begin   kv.Begin
	content content // as it was, with the transaction's own operations
	ops     []kv.Op
	receipt kv.Receipt

	began clock.Timestamp    // the last commit that it sees
	reads map[kv.Object]bool // objects; of a listing the bucket's, with no key
}

var _ kv.Service = (*Node)(nil)

// Node adds a node: region number and name are the caller's choice, one node a region.
func (s *Store) Node(region clock.Region, name string) *Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.regions++
	return &Node{store: s, name: name, lane: clock.Lane{Region: region}, incarnation: 1, txns: map[kv.TxnID]*txn{}}
}

// Restart ends the node's open transactions and gives it its next incarnation.
func (n *Node) Restart() {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	n.incarnation++
	n.txns = map[kv.TxnID]*txn{}
}

// OpenTxns is how many interactive transactions are open.
func (n *Node) OpenTxns() int {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	return len(n.txns)
}

func (n *Node) receipt(o *kv.Options) kv.Receipt {
	r := kv.Receipt{
		Level: o.Level, Bound: o.Bound, Region: n.name, Incarnation: n.incarnation, Lane: n.lane,
		Snapshot: n.store.seen, Token: kv.Token{Cluster: cluster, Seen: n.store.seen},
	}
	if r.Level == kv.LevelDefault {
		r.Level = kv.LevelCausal
	}
	if o.Receipt {
		for i := range n.store.regions - 1 { // of whatever number: they are all the same content
			r.Staleness = append(r.Staleness, kv.RegionStaleness{Name: fmt.Sprintf("other %d", i+1), Known: true})
		}
	}
	return r
}

// admit checks what every call's options say. Nothing ever arrives from elsewhere, so a token from
// the future is stale at once.
func (n *Node) admit(ctx context.Context, o kv.Options) error {
	if err := o.Check(); err != nil {
		return err
	}
	if _, err := o.Reach().Copies(n.store.regions); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return kv.Errorf(kv.KindDeadline, "call: %w", ctx.Err())
	case !o.Token.Cluster.IsZero() && o.Token.Cluster != cluster:
		return kv.Errorf(kv.KindInvalid, "session token of cluster %s, which this is not", o.Token.Cluster)
	case o.Level != kv.LevelEventual && !n.store.seen.Includes(o.Token.Seen):
		return kv.Errorf(kv.KindStale, "snapshot %s is not here", o.Token.Seen)
	}
	return nil
}

// Do implements kv.Service.
func (n *Node) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	if err := n.store.rules.Request(&req, n.store.regions); err != nil {
		return kv.Response{}, err
	}
	if err := n.admit(ctx, req.Options); err != nil {
		return kv.Response{}, err
	}
	values, err := n.store.content.answer(req.Queries)
	if err != nil {
		return kv.Response{}, err
	}
	resp := kv.Response{Values: values, Receipt: n.receipt(&req.Options)}
	if len(req.Ops) == 0 {
		return resp, nil
	}
	if err := checkOps(req.Ops, 0); err != nil {
		return kv.Response{}, err
	}
	resp.Receipt, err = n.commit(&req.Options, resp.Receipt, req.Ops)
	return resp, err
}

func (c content) answer(queries []kv.Query) ([]kv.Value, error) {
	if len(queries) == 0 {
		return nil, nil
	}
	values := make([]kv.Value, len(queries))
	for i := range queries {
		v, err := c.ask(&queries[i])
		if err != nil {
			return nil, err
		}
		values[i] = v
	}
	return values, nil
}

func checkOps(ops []kv.Op, before int) error {
	if before+len(ops) > kv.MaxOps {
		return kv.Errorf(kv.KindTooLarge, "%d operations in a transaction: the limit is %d", before+len(ops), kv.MaxOps)
	}
	for i := range ops {
		if err := check(&ops[i]); err != nil {
			return err
		}
	}
	return nil
}

// commit writes checked operations once.
func (n *Node) commit(o *kv.Options, r kv.Receipt, ops []kv.Op) (kv.Receipt, error) {
	s, a, region := n.store, o.Attempt, n.lane.Region
	if r.Level == kv.LevelStrong {
		region = 0
	}
	if !a.ID.IsZero() {
		if first, found, err := n.earlier(a, region == 0); found || err != nil {
			return first, err
		}
	}
	for i := range ops {
		if err := s.content.holds(&ops[i]); err != nil {
			return kv.Receipt{}, kv.WithToken(err, kv.Token{Cluster: cluster, Seen: s.seen})
		}
	}
	for i := range ops {
		s.content.apply(&ops[i])
		s.buckets[ops[i].Bucket] = true
	}
	s.last++
	s.seen = s.seen.With(region, s.last)
	r.Commit = clock.Stamp{Region: region, Time: s.last}
	for i := range ops {
		s.written[ops[i].Object], s.written[kv.Object{Bucket: ops[i].Bucket}] = s.last, s.last
	}
	r.Token.Seen = s.seen
	if o.Receipt {
		if r.Durability, r.Regions = o.Durability, s.regions; r.Durability == kv.DurabilityDefault {
			r.Durability = kv.DurabilityLocal
		}
	}
	if !a.ID.IsZero() {
		s.ids[a.ID] = r
	}
	return r, nil
}

// earlier finds what an earlier try of an operation came to: at level strong in any region.
func (n *Node) earlier(a kv.Attempt, strong bool) (kv.Receipt, bool, error) {
	switch {
	case !a.Retry && a.Incarnation != n.incarnation:
		return kv.Receipt{}, false, kv.Errorf(kv.KindUnavailable, "operation %s is for incarnation %d, this is %d", a.ID, a.Incarnation, n.incarnation)
	case a.Retry && a.Lane != n.lane && !(strong && a.Lane.Region == 0):
		err := kv.Errorf(kv.KindTooOld, "operation %s was tried in lane %s", a.ID, a.Lane).WithOutcome(kv.OutcomeUnknown)
		err.ID = a.ID
		return kv.Receipt{}, false, err
	case n.store.denied[a.ID]:
		return kv.Receipt{}, false, kv.Errorf(kv.KindAborted, "operation %s was answered \"not applied\" before", a.ID)
	}
	r, found := n.store.ids[a.ID]
	return r, found, nil
}

// Begin implements kv.Service.
func (n *Node) Begin(ctx context.Context, b kv.Begin) (kv.TxnID, kv.Receipt, error) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	if err := n.admit(ctx, b.Options); err != nil {
		return 0, kv.Receipt{}, err
	}
	n.lastTxn++
	r := n.receipt(&b.Options)
	n.txns[n.lastTxn] = &txn{begin: b, content: n.store.content.clone(), receipt: r, began: n.store.last, reads: map[kv.Object]bool{}}
	return n.lastTxn, r, nil
}

func (n *Node) txn(id kv.TxnID) (*txn, error) {
	t := n.txns[id]
	if t == nil {
		return nil, kv.Errorf(kv.KindNotFound, "no open transaction %d", id)
	}
	return t, nil
}

// Execute implements kv.Service.
func (n *Node) Execute(_ context.Context, id kv.TxnID, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	t, err := n.txn(id)
	if err != nil {
		return nil, err
	}
	if t.begin.ReadOnly && len(ops) > 0 {
		return nil, kv.Errorf(kv.KindInvalid, "a write in a read-only transaction")
	}
	if err := n.store.rules.Within(&t.begin, ops, queries); err != nil {
		return nil, err
	}
	if err := checkOps(ops, len(t.ops)); err != nil {
		return nil, err
	}
	for i := range ops {
		t.content.apply(&ops[i])
	}
	for _, op := range ops {
		op.Data = bytes.Clone(op.Data) // the caller's until this call returns
		t.ops = append(t.ops, op)
	}
	for i := range queries {
		t.reads[queries[i].Object] = true
	}
	return t.content.answer(queries)
}

// Commit implements kv.Service.
func (n *Node) Commit(_ context.Context, id kv.TxnID, o kv.Options) (kv.Receipt, error) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	t, err := n.txn(id)
	if err != nil {
		return kv.Receipt{}, err
	}
	delete(n.txns, id)
	if err := o.Reach().Check(); err != nil {
		return kv.Receipt{}, err
	}
	if err := n.certify(t); err != nil {
		return kv.Receipt{}, err
	}
	if o.Discard || len(t.ops) == 0 {
		return t.receipt, nil
	}
	return n.commit(&o, t.receipt, t.ops)
}

// certify refuses a strong transaction that read what has been written since it began.
func (n *Node) certify(t *txn) error {
	s := n.store
	for o := range t.reads {
		if t.receipt.Level == kv.LevelStrong && s.written[o] > t.began {
			return kv.Conflict(kv.Token{Cluster: cluster, Seen: s.seen}, "%q of bucket %s was written since the transaction began", string(o.Key), o.Bucket)
		}
	}
	return nil
}

// Abort implements kv.Service.
func (n *Node) Abort(_ context.Context, id kv.TxnID) error {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	delete(n.txns, id)
	return nil
}

// Keys implements kv.Service.
func (n *Node) Keys(ctx context.Context, req kv.KeysRequest) (kv.KeysPage, error) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	if req.Txn == 0 {
		if err := n.store.rules.Listing(&req.Options, req.Bucket); err != nil {
			return kv.KeysPage{}, err
		}
	}
	at, receipt := n.store.content, n.receipt(&req.Options)
	if req.Txn != 0 {
		t, err := n.txn(req.Txn)
		if err != nil {
			return kv.KeysPage{}, err
		}
		if err := n.store.rules.ListingWithin(&t.begin, req.Bucket); err != nil {
			return kv.KeysPage{}, err
		}
		at, receipt = t.content, t.receipt
		t.reads[kv.Object{Bucket: req.Bucket}] = true
	} else if err := n.admit(ctx, req.Options); err != nil {
		return kv.KeysPage{}, err
	}
	if req.Limit < 1 || req.Limit > kv.MaxPage {
		return kv.KeysPage{}, kv.Errorf(kv.KindInvalid, "page limit %d", req.Limit)
	}
	page := kv.KeysPage{Receipt: receipt}
	for _, o := range at.objects() {
		if o.Bucket != req.Bucket || !strings.HasPrefix(string(o.Key), string(req.Prefix)) || cursor(o) <= string(req.After) {
			continue
		}
		if len(page.Objects) == req.Limit {
			page.Next = []byte(cursor(page.Objects[req.Limit-1]))
			break
		}
		page.Objects = append(page.Objects, o)
	}
	return page, nil
}

// cursor sorts as (key, type) does.
func cursor(o kv.Object) string {
	return string(append(kv.AppendName(nil, string(o.Key)), byte(o.Type)))
}

// objects lists what is present, in the order of (bucket, key, type).
func (c content) objects() []kv.Object {
	var list []kv.Object
	for o, cell := range c {
		if cell.there() {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b kv.Object) int {
		if a.Bucket != b.Bucket {
			return strings.Compare(string(a.Bucket), string(b.Bucket))
		}
		return strings.Compare(cursor(a), cursor(b))
	})
	return list
}

// Outcome implements kv.Service.
func (n *Node) Outcome(_ context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	a := req.Attempt
	a.Retry = true
	r, found, err := n.earlier(a, true)
	switch {
	case err != nil && kv.OutcomeOf(err) == kv.OutcomeUnknown:
		return kv.OutcomeAnswer{}, err
	case found:
		return kv.OutcomeAnswer{Outcome: kv.Applied, Commit: r.Commit, Token: r.Token}, nil
	}
	n.store.denied[a.ID] = true
	return kv.OutcomeAnswer{Outcome: kv.NotApplied}, nil
}

// Digest implements kv.Service. Its sum is not that of docs/formats/digest.md, but equal for equal
// content.
func (n *Node) Digest(ctx context.Context, req kv.DigestRequest) (kv.Digest, error) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	var rules *kv.Rules
	if req.Bucket != "" {
		rules = n.store.rules
	}
	if err := rules.Listing(&req.Options, req.Bucket); err != nil {
		return kv.Digest{}, err
	}
	if err := n.admit(ctx, req.Options); err != nil {
		return kv.Digest{}, err
	}
	d := kv.Digest{Receipt: n.receipt(&req.Options)}
	sum := sha256.New()
	for _, o := range n.store.content.objects() {
		if req.Bucket == "" || o.Bucket == req.Bucket {
			fmt.Fprintf(sum, "%q %+v\n", o, n.store.content[o].value(o.Type))
			d.Objects++
		}
	}
	copy(d.Sum[:], sum.Sum(nil))
	return d, nil
}

// Status implements kv.Service.
func (n *Node) Status(ctx context.Context) (kv.Status, error) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	if ctx.Err() != nil {
		return kv.Status{}, kv.Errorf(kv.KindDeadline, "status: %w", ctx.Err())
	}
	return kv.Status{
		Cluster: cluster, Region: n.name, Lane: n.lane, Incarnation: n.incarnation, Version: "memkv", State: "serving",
		Exposed: n.store.seen, Durable: n.store.seen, OpenTxns: len(n.txns),
		Regions: []kv.RegionStatus{{Region: n.lane.Region, Name: n.name, Connected: true, Exposed: n.store.last}},
	}, nil
}

// Buckets implements kv.Service.
func (n *Node) Buckets(_ context.Context, req kv.BucketsRequest) (kv.BucketsPage, error) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	if req.Limit < 1 || req.Limit > kv.MaxPage {
		return kv.BucketsPage{}, kv.Errorf(kv.KindInvalid, "page limit %d", req.Limit)
	}
	var page kv.BucketsPage
	for _, b := range slices.Sorted(maps.Keys(n.store.buckets)) {
		switch {
		case b.Reserved() || string(b) <= string(req.After):
		case len(page.Buckets) == req.Limit:
			page.Next = []byte(page.Buckets[req.Limit-1])
			return page, nil
		default:
			page.Buckets = append(page.Buckets, b)
		}
	}
	return page, nil
}
