package cli

import (
	"context"
	"strings"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/kv"
)

// dialTries is how often a call is tried before the command fails: some seconds, the time in which
// a node that is just being restarted comes back.
const dialTries = 8

// network is a database over gRPC.
type network struct {
	kv.Service
	db *client.DB
}

func (n network) Close() error { return n.db.Close() }

func dialNetwork(ctx context.Context, c config.Client) (Connection, error) {
	opts := []client.Option{client.WithTries(dialTries)}
	if c.Insecure {
		opts = append(opts, client.Insecure())
	} else {
		t, err := c.TLS.Dialer()
		if err != nil {
			return nil, err
		}
		opts = append(opts, client.WithTLS(t))
	}
	db, err := client.Open(ctx, strings.Join(c.Addrs, ","), opts...)
	if err != nil {
		return nil, err
	}
	return network{db.Service(), db}, nil
}

// conn is a connection with the options and the session of a command.
type conn struct {
	r       *run
	svc     Connection
	file    sessionFile
	loaded  kv.Token   // what the session's file said
	token   kv.Token   // what the session has seen
	receipt kv.Receipt // of the last call
}

// open reads the session and connects.
func (r *run) open(ctx context.Context) (*conn, error) {
	file, err := openSession(r.client.Session)
	if err != nil {
		return nil, err
	}
	c := &conn{r: r, file: file}
	if c.loaded, err = c.file.read(); err != nil {
		return nil, err
	}
	c.token = c.loaded
	dial := r.app.Dial
	if dial == nil {
		dial = dialNetwork
	}
	ctx, cancel := c.limited(ctx)
	defer cancel()
	c.svc, err = dial(ctx, r.client)
	return c, err
}

// limited bounds one call by --timeout.
func (c *conn) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.r.client.Timeout)
}

// options of the next call.
func (c *conn) options() kv.Options {
	o := c.r.client.Options()
	o.Token = c.token
	return o
}

// saw takes an answer's receipt in.
func (c *conn) saw(r kv.Receipt) error {
	c.receipt = r
	token, err := c.token.Join(r.Token)
	if err == nil {
		c.token = token
	}
	return err
}

// failed takes in what an error tells of the data, and returns it.
func (c *conn) failed(err error) error {
	if joined, other := c.token.Join(kv.TokenOf(err)); other == nil {
		c.token = joined
	} // else it is of another cluster: then err is the better answer
	return err
}

// save keeps the session's token (invariant 3).
func (c *conn) save() error {
	if c.file == "" || c.token.Seen.Equal(c.loaded.Seen) && c.token.Cluster == c.loaded.Cluster {
		return nil
	}
	err := c.file.write(c.token)
	if err != nil && c.r.applied {
		return kv.Errorf(kv.KindUnavailable, "keeping the session: %w", err).WithOutcome(kv.Applied)
	}
	return err
}

// do runs a one-shot transaction.
func (c *conn) do(ctx context.Context, queries []kv.Query, ops []kv.Op) ([]kv.Value, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	var receipt kv.Receipt
	opts := []client.CallOption{client.At(c.r.client.Consistency), client.Durable(c.r.client.Durability), client.WithToken(c.token)}
	if c.r.client.Receipt {
		opts = append(opts, client.WithReceipt(&receipt))
	}
	session := client.New(c.svc).Session()
	values, err := session.Do(ctx, ops, queries, opts...)
	c.r.applied = c.r.applied || err == nil && len(ops) > 0
	receipt.Token = session.Token()
	if joined := c.saw(receipt); err == nil {
		err = joined
	}
	return values, err
}

// tx is an open transaction.
type tx struct {
	c    *conn
	id   kv.TxnID
	told bool // something was answered
}

// begin opens a transaction. end must be called, also after commit.
func (c *conn) begin(ctx context.Context, b kv.Begin) (*tx, kv.Receipt, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	id, receipt, err := c.svc.Begin(ctx, b)
	return &tx{c: c, id: id}, receipt, c.failed(err)
}

// execute buffers operations and answers queries.
func (t *tx) execute(ctx context.Context, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	ctx, cancel := t.c.limited(ctx)
	defer cancel()
	values, err := t.c.svc.Execute(ctx, t.id, ops, queries)
	t.told = t.told || err == nil
	if err == nil && len(values) != len(queries) {
		err = kv.Errorf(kv.KindCorrupt, "%d answers to %d queries", len(values), len(queries))
	}
	return values, t.c.failed(err)
}

func (t *tx) commit(ctx context.Context) (kv.Receipt, error) {
	ctx, cancel := t.c.limited(ctx)
	defer cancel()
	receipt, err := t.c.svc.Commit(ctx, t.id, t.c.options())
	t.c.r.applied = t.c.r.applied || err == nil
	return receipt, t.c.failed(err)
}

// end frees the transaction unless it was committed. What is not freed now the node frees later.
func (t *tx) end(ctx context.Context) {
	ctx, cancel := t.c.limited(context.WithoutCancel(ctx))
	defer cancel()
	_ = t.c.svc.Abort(ctx, t.id)
}

// maxRaised bounds how often a view is begun anew since its level is too weak for a bucket.
const maxRaised = 8

// view calls fn with a transaction that only reads: everything that fn reads is one snapshot. Where the command
// names no level it has that of the bucket that is read first: fn may run again before anything was answered.
func (c *conn) view(ctx context.Context, fn func(t *tx) error) error {
	return c.viewBuckets(ctx, kv.Consistency{}, fn)
}

// viewBuckets is view where the command names no level, and the buckets' defaults are this level or weaker.
func (c *conn) viewBuckets(ctx context.Context, level kv.Consistency, fn func(t *tx) error) error {
	for n := 1; ; n++ {
		told, err := c.viewOnce(ctx, level, fn)
		if told || !c.raises(err) || n == maxRaised {
			return err
		}
		level = kv.NeedsOf(err)
	}
}

// raises tells whether a transaction failed since a bucket's default is stronger than its level, which the command
// does not name.
func (c *conn) raises(err error) bool {
	return c.r.client.Consistency.Level == kv.LevelDefault && kv.NeedsOf(err) != (kv.Consistency{})
}

// unnamed begins a transaction at a level that buckets need, unless there is none, or the command names one.
func (c *conn) unnamed(b kv.Begin, level kv.Consistency) kv.Begin {
	if b.Options.Level == kv.LevelDefault && level.Level != kv.LevelDefault {
		b.ByDefault = true
		b.Options.SetConsistency(level)
	}
	return b
}

// viewOnce tells whether anything was answered.
func (c *conn) viewOnce(ctx context.Context, level kv.Consistency, fn func(t *tx) error) (told bool, err error) {
	t, receipt, err := c.begin(ctx, c.unnamed(kv.Begin{Options: c.options(), ReadOnly: true}, level))
	if err != nil {
		return false, err
	}
	defer t.end(ctx)
	if err := c.saw(receipt); err != nil {
		return false, err
	}
	err = fn(t)
	return t.told, err
}

// strictest is the strongest default of all buckets; zero where none has one.
func (c *conn) strictest(ctx context.Context) (level kv.Consistency, err error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	list, err := c.svc.BucketRules(ctx)
	for i := range list {
		if d := list[i].Default(); d.Level > kv.LevelCausal {
			level = d.Stricter(level)
		}
	}
	return level, c.failed(err)
}

// keysPage is how many keys are asked for at once.
const keysPage = 1000

// keys calls fn with the objects under a prefix, page by page.
func (t *tx) keys(ctx context.Context, bucket kv.Bucket, prefix kv.Key, fn func([]kv.Object) (more bool, err error)) error {
	req := kv.KeysRequest{Txn: t.id, Bucket: bucket, Prefix: prefix, Limit: keysPage}
	for {
		page, err := t.page(ctx, req)
		if err != nil {
			return err
		}
		if more, err := fn(page.Objects); err != nil || !more || len(page.Next) == 0 {
			return err
		}
		req.After = page.Next
	}
}

func (t *tx) page(ctx context.Context, req kv.KeysRequest) (kv.KeysPage, error) {
	ctx, cancel := t.c.limited(ctx)
	defer cancel()
	page, err := t.c.svc.Keys(ctx, req)
	t.told = t.told || err == nil
	return page, t.c.failed(err)
}

// under lists the objects of all types that have exactly this key. They come first among those
// that have it as a prefix.
func (t *tx) under(ctx context.Context, bucket kv.Bucket, key kv.Key) ([]kv.Object, error) {
	var out []kv.Object
	err := t.keys(ctx, bucket, key, func(page []kv.Object) (bool, error) {
		for _, o := range page {
			if o.Key != key {
				return false, nil
			}
			out = append(out, o)
		}
		return true, nil
	})
	return out, err
}
