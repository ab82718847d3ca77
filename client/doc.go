// Package client is theriac's Go client: typed handles on objects, transactions and sessions, over
// the network ([Open]) or over a node in the same process ([New]).
//
//	db, err := client.Open(ctx, "localhost:6700", client.Insecure())
//	if err != nil {
//		return err
//	}
//	defer db.Close()
//
//	err = db.Counter("likes").Add(ctx, 1)
//	likes, err := db.Counter("likes").Get(ctx)
//
// Several writes happen together or not at all, in every region, inside [DB.Update]:
//
//	err = db.Update(ctx, func(tx *client.Tx) error {
//		if err := tx.Register("order/7").SetString(ctx, "paid"); err != nil {
//			return err
//		}
//		return tx.Set("orders/paid").Add(ctx, "7")
//	})
//
// A [Session] reads its own writes and never goes back in time, in whichever region its calls are
// served; its [Token] can be handed to another process, which goes on from there with [DB.Resume].
//
// Every call takes a context first, whose deadline bounds every wait, and options last:
// [WithReceipt], [WithToken], [WithOpID], and how much consistency and durability it pays for. These are
// independent of each other, and of the options of a client ([WithDefaults]), a bucket handle, a transaction
// and a call the later ones count:
//
//	db.Counter("likes").Get(ctx, client.Bounded(2*time.Second))
//	db.Counter("likes").Add(ctx, 1, client.Durable(client.Majority))
//	stock := db.Bucket("stock", client.Strong())
//	err = db.Update(ctx, move, client.Strong(), client.Durable(client.All))
//
// What they leave open the buckets decide (docs/CONSISTENCY.md). A strong transaction that met another one
// is tried again inside the client, as often as its limits allow.
//
// # Errors
//
// Every error is an [*Error] (or wraps one). errors.Is(err, client.ErrStale) asks for its kind.
// [OutcomeOf] says whether the write happened: not applied, applied, or unknown. Calls are retried
// inside the client as far as that is safe; a write whose outcome is unknown is never sent to
// another region, but for one at level strong, which all regions find by its id. Its Error.ID names the operation, and [DB.Outcome] asks later what became of it.
//
// # Responsibility
//
// The package owns the convenience of the API, the choice of a node, retries and session tokens.
// It knows no server package: everything goes through kv.Service, which the gRPC backend and an
// embedded node both are. It knows the names and numbers of the data types, and not how they merge.
//
// # Invariants
//
//  1. A session's token only grows, and includes every receipt of the session's calls, and what their
//     errors tell of the data.
//  2. A try of a write that may have reached a lane is followed by tries at the same lane only, at level
//     strong in any region, with the same operation id, at the same level and marked as retries.
//  3. A transaction that a closure began is ended when Update, View or an iterator returns or
//     panics.
//  4. What met another strong transaction is tried again as a new operation, at a snapshot that includes
//     what it met.
//  5. Every retry loop is bounded by a number of tries and by the caller's context.
//
// # Life of a call
//
//	handle -> DB, Session or Tx -> router (which node, which try; none with New)
//	  -> remote -> pipe (one-shot transactions, many in a message) or a gRPC call of its own -> node
package client
