package workload

import (
	"context"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/kv"
)

// listed begins the keys of sets that the database does not hold as sets: each element is the end of a register's key, and
// who reads the set lists the bucket. To checkers it is a set that only grows; to the database reading it is a
// range of keys.
const listed = "listed/"

// isListed reports whether an operation is on such a set.
func isListed(o *history.Op) bool { return o.Type == "set-go" && strings.HasPrefix(o.Key, listed) }

// isListing reports whether an operation lists keys.
func isListing(o *history.Op) bool { return isListed(o) && o.Do == history.Get }

// keysOf is how the keys of a set's elements begin.
func keysOf(o *history.Op) string { return o.Key + "/" }

// writeListed puts an element into such a set.
func writeListed(o *history.Op) client.Op {
	at := client.Object{Bucket: kv.DefaultBucket, Key: kv.Key(keysOf(o) + o.Element), Type: client.TypeRegisterLWW}
	return client.Op{Verb: kv.VerbAssign, Object: at, Data: []byte(o.Element)}
}

// list reads such a set within a transaction.
func list(ctx context.Context, o *history.Op, tx *client.Tx) error {
	var elements []string
	for object, err := range tx.Keys(ctx, keysOf(o)) {
		if err != nil {
			return err
		}
		elements = append(elements, strings.TrimPrefix(string(object.Key), keysOf(o)))
	}
	slices.Sort(elements)
	o.Got = &history.Value{Absent: len(elements) == 0, List: elements}
	return nil
}
