package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// A map whose one field holds more than any answer and any line of an export may.
const (
	largeElements = 640
	largeElement  = 64 << 10
)

// openRegion opens an empty database of one region that ends with the test.
func openRegion(t *testing.T) *embedded.DB {
	db, err := embedded.Open(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func fillLarge(t *testing.T, db *embedded.DB) {
	fill := strings.Repeat("x", largeElement)
	set := func(tx *client.Tx) client.Set { return tx.Map("large").Map("in").Set("set") }
	for from := 0; from < largeElements; from += 64 {
		require.NoError(t, db.Update(t.Context(), func(tx *client.Tx) error {
			for i := range 64 {
				if err := set(tx).Add(t.Context(), fmt.Sprintf("%05d%s", from+i, fill)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	require.NoError(t, db.Map("large").Counter("n").Add(t.Context(), 7))
	require.NoError(t, db.Map("large").Map("in").Register("name").SetString(t.Context(), "forty MiB"))
	require.NoError(t, db.Counter("beside").Add(t.Context(), 1))
}

// widest watches how large answers are.
type widest struct {
	kv.Service
	most int
}

func (w *widest) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, q []kv.Query) ([]kv.Value, error) {
	values, err := w.Service.Execute(ctx, id, ops, q)
	sum := 0
	for i := range values {
		sum += heldBy(&values[i])
	}
	w.most = max(w.most, sum)
	return values, err
}

func heldBy(v *kv.Value) int {
	n := len(v.Bytes)
	for _, e := range v.List {
		n += len(e)
	}
	for i := range v.Fields {
		n += heldBy(&v.Fields[i].Value)
	}
	return n
}

func digestOf(t *testing.T, db *embedded.DB) client.Digest {
	d, err := db.Digest(t.Context(), "")
	require.NoError(t, err)
	return d
}

// What export writes of an object of any size, import makes the same object of, in this process and
// over the network; neither holds more than a page of it.
func TestLargeNestedFieldsAreExportedAndImported(t *testing.T) {
	eu, us := openRegion(t), openRegion(t)
	fillLarge(t, eu)
	watched := &widest{Service: eu.Service()}
	code, file, stderr := runOn(watched, "", "export")
	require.Equal(t, ExitOK, code, stderr)
	require.LessOrEqual(t, watched.most, kv.MaxPageBytes+largeElement)
	lines := strings.Split(strings.TrimSpace(file), "\n")
	require.Greater(t, len(lines), largeElements*largeElement/(kv.MaxPageBytes+largeElement))
	for _, l := range lines {
		require.Less(t, len(l), kv.MaxPageBytes+2*largeElement)
	}

	at := listenFor(t, us.Service(), nil)
	network := func(stdin string, args ...string) string {
		app, stdout, stderr := newTestApp(nil, stdin)
		app.Dial = nil
		code := app.Run(context.Background(), append(args, "--addr", at, "--insecure"))
		require.Equal(t, ExitOK, code, stderr)
		return stdout.String()
	}
	network(file, "import", "-", "--id", "x")
	require.Equal(t, digestOf(t, eu).Sum, digestOf(t, us).Sum)
	require.True(t, file == network("", "export"), "equal content gives equal bytes")

	var document struct {
		Value map[string]json.RawMessage `json:"value"`
	}
	require.NoError(t, json.Unmarshal([]byte(network("", "map", "get", "large", "-o", "json")), &document))
	var in map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(document.Value["in:map"], &in))
	var set []string
	require.NoError(t, json.Unmarshal(in["set:set-aw"], &set))
	require.Len(t, set, largeElements)
	require.Equal(t, "7", string(document.Value["n:counter"]))
	require.Equal(t, largeElements+2, strings.Count(network("", "get", "large"), "\n"))

	db, err := client.Open(t.Context(), at, client.Insecure())
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Map("large").Get(t.Context())
	require.ErrorIs(t, err, kv.ErrTooLarge)
	for f, err := range db.Map("large").Fields(t.Context()) {
		require.NoError(t, err)
		if f.Value.Type == crdt.Map {
			require.Len(t, f.Value.Fields[1].Value.List, largeElements)
		}
	}
}
