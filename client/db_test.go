package client

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

var ctx = context.Background()

func newTestDB() (*DB, *faulty, *memkv.Node) {
	node := memkv.New().Node(1, "eu")
	f := newFaulty(node)
	return New(f), f, node
}

// The same numbers are written down in three places, for three readers.
func TestTypeNumbersAreThoseOfTheProtocolAndOfTheDataTypes(t *testing.T) {
	for typ, want := range map[Type]struct {
		name string
		wire pb.Type
	}{
		TypeCounter:     {"counter", pb.Type_TYPE_COUNTER},
		TypeRegisterLWW: {"register-lww", pb.Type_TYPE_REGISTER_LWW},
		TypeRegisterMV:  {"register-mv", pb.Type_TYPE_REGISTER_MV},
		TypeFlagEW:      {"flag-ew", pb.Type_TYPE_FLAG_EW},
		TypeFlagDW:      {"flag-dw", pb.Type_TYPE_FLAG_DW},
		TypeSetAW:       {"set-aw", pb.Type_TYPE_SET_AW},
		TypeSetRW:       {"set-rw", pb.Type_TYPE_SET_RW},
		TypeSetGO:       {"set-go", pb.Type_TYPE_SET_GO},
		TypeMap:         {"map", pb.Type_TYPE_MAP},
		TypeMapGO:       {"map-go", pb.Type_TYPE_MAP_GO},
	} {
		got, ok := crdt.Lookup(want.name)
		require.True(t, ok, want.name)
		require.Equal(t, got, typ, want.name)
		require.Equal(t, want.wire, pb.Type(typ), want.name)
	}
	require.Len(t, pb.Type_name, 11)
}

func TestEveryTypedHandleWritesAndReads(t *testing.T) {
	db, _, _ := newTestDB()
	for name, at := range map[string]place{"bucket": db.Bucket("b").place, "field": db.Map("m").Map("n").place} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, at.Counter("x").Add(ctx, 5))
			require.NoError(t, at.Counter("x").Add(ctx, -2))
			n, err := at.Counter("x").Get(ctx)
			require.NoError(t, err)
			require.EqualValues(t, 3, n)

			require.NoError(t, at.Register("x").SetString(ctx, "one"))
			s, err := at.Register("x").GetString(ctx)
			require.NoError(t, err)
			require.Equal(t, "one", s)

			require.NoError(t, at.MVRegister("x").SetString(ctx, "two"))
			list, err := at.MVRegister("x").Get(ctx)
			require.NoError(t, err)
			require.Equal(t, [][]byte{[]byte("two")}, list)

			for _, f := range []Flag{at.Flag("x"), at.FlagDW("x")} {
				require.NoError(t, f.Enable(ctx))
				on, err := f.Get(ctx)
				require.NoError(t, err)
				require.True(t, on)
				require.NoError(t, f.Disable(ctx))
				on, err = f.Get(ctx)
				require.NoError(t, err)
				require.False(t, on)
			}
			testSets(t, at)
			testNestedMap(t, at.Map("x"))
			testNestedMap(t, at.MapGO("x"))
		})
	}
}

func testSets(t *testing.T, at place) {
	for _, s := range []Set{at.Set("x"), at.SetRW("x")} {
		require.NoError(t, s.AddAll(ctx, []string{"a", "b", "c", "\x00\xff"}))
		require.NoError(t, s.AddAll(ctx, nil))
		require.NoError(t, s.Remove(ctx, "b"))
		require.NoError(t, s.RemoveAll(ctx, []string{"c"}))
		members, err := s.Members(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"\x00\xff", "a"}, members)
		has, err := s.Contains(ctx, "a")
		require.NoError(t, err)
		require.True(t, has)
		has, err = s.Contains(ctx, "b")
		require.NoError(t, err)
		require.False(t, has)
	}
	require.NoError(t, at.SetGO("x").Add(ctx, "a"))
	members, err := at.SetGO("x").Members(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, members)
}

func testNestedMap(t *testing.T, m Map) {
	require.NoError(t, m.Counter("c").Add(ctx, 1))
	require.NoError(t, m.Set("s").Add(ctx, "e"))
	require.NoError(t, m.Remove(ctx, "s", TypeSetAW))
	v, err := m.Get(ctx)
	require.NoError(t, err)
	require.Len(t, v.Fields, 1)
	c, ok := v.Field("c", TypeCounter)
	require.True(t, ok)
	require.EqualValues(t, 1, c.Int)
	_, ok = v.Field("c", TypeMap)
	require.False(t, ok)
}

func TestHandleAddressesWhatItSays(t *testing.T) {
	db, _, _ := newTestDB()
	city := db.Bucket("users").Map("ada").Map("address").Register("city")
	require.Equal(t, Object{Bucket: "users", Key: "ada", Type: TypeMap}, city.Object())
	require.Equal(t, Path{{Name: "address", Type: TypeMap}, {Name: "city", Type: TypeRegisterLWW}}, city.Path())
	require.Equal(t, TypeRegisterLWW, city.Type())
	require.Equal(t, TypeCounter, db.Object("x", TypeCounter).Type())
	require.Equal(t, "default", db.Name())
	require.Equal(t, "users", db.Bucket("users").Name())
}

// Paths grow by appending, which must never write into a sibling's array.
func TestSiblingFieldsDoNotShareTheirPaths(t *testing.T) {
	db, _, _ := newTestDB()
	m := db.Map("a").Map("b").Map("c")
	first, second := m.Counter("first"), m.Counter("second")
	require.Equal(t, "first", first.Path()[2].Name)
	require.Equal(t, "second", second.Path()[2].Name)
}

func TestDeleteRemovesTheWhole(t *testing.T) {
	db, _, _ := newTestDB()
	require.NoError(t, db.Map("m").Map("n").Counter("c").Add(ctx, 1))
	require.NoError(t, db.Map("m").Delete(ctx))
	v, err := db.Map("m").Value(ctx)
	require.NoError(t, err)
	require.False(t, v.Present)
	require.NoError(t, db.Set("s").Add(ctx, "e"))
	require.NoError(t, db.Set("s").Delete(ctx))
	members, err := db.Set("s").Members(ctx)
	require.NoError(t, err)
	require.Empty(t, members)
}

func TestCompareAndSetTellsAbsentFromEmpty(t *testing.T) {
	db, _, _ := newTestDB()
	r := db.Register("r")
	value, err := r.Get(ctx)
	require.NoError(t, err)
	require.Nil(t, value)
	require.ErrorIs(t, r.CompareAndSet(ctx, []byte{}, []byte("x")), ErrAborted)
	require.NoError(t, r.CompareAndSet(ctx, nil, []byte{}))
	value, err = r.Get(ctx)
	require.NoError(t, err)
	require.NotNil(t, value)
	require.ErrorIs(t, r.CompareAndSet(ctx, nil, []byte("x")), ErrAborted)
	require.NoError(t, r.CompareAndSet(ctx, value, []byte("x")))
	require.ErrorIs(t, r.CompareAndSet(ctx, []byte("y"), []byte("z")), ErrAborted)
}

func TestDoAnswersEachQuery(t *testing.T) {
	db, _, _ := newTestDB()
	o := Object{Bucket: "b", Key: "k", Type: TypeCounter}
	values, err := db.Do(ctx, []Op{{Object: o, Verb: kv.VerbIncrement, Int: 4}}, []Query{{Object: o}})
	require.NoError(t, err)
	require.Len(t, values, 1)
	require.Zero(t, values[0].Int, "queries read the snapshot, before the operations")
	require.Equal(t, []string{"b"}, buckets(t, db))
}

func buckets(t *testing.T, db *DB) []string {
	t.Helper()
	var names []string
	for name, err := range db.Buckets(ctx) {
		require.NoError(t, err)
		names = append(names, name)
	}
	return names
}

func TestBucketsGoesThroughAllPages(t *testing.T) {
	db, f, _ := newTestDB()
	require.Empty(t, buckets(t, db))
	var ops []Op
	var want []string
	for i := range 2*pageSize + 1 {
		want = append(want, fmt.Sprintf("b%05d", i))
		ops = append(ops, Op{Object: Object{Bucket: kv.Bucket(want[i]), Key: "k", Type: TypeCounter}, Verb: kv.VerbIncrement, Int: 1})
	}
	_, err := db.Do(ctx, ops, nil)
	require.NoError(t, err)
	f.counts["Buckets"] = 0
	require.Equal(t, want, buckets(t, db))
	require.Equal(t, 3, f.count("Buckets"))

	f.counts["Buckets"] = 0
	for range db.Buckets(ctx) {
		break
	}
	require.Equal(t, 1, f.count("Buckets"), "no page is asked for that nobody wants")
	f.before = func(_ string, n int) error {
		if n == 3 {
			return down()
		}
		return nil
	}
	var got []string
	for name, err := range db.Buckets(ctx) {
		if err != nil {
			require.ErrorIs(t, err, ErrUnavailable)
			break
		}
		got = append(got, name)
	}
	require.Equal(t, want[:pageSize], got, "what came before an error was handed out")
}

func TestStatusAndDigest(t *testing.T) {
	db, _, _ := newTestDB()
	require.NoError(t, db.Bucket("b").Counter("k").Add(ctx, 1))
	s, err := db.Status(ctx)
	require.NoError(t, err)
	require.Equal(t, "eu", s.Region)
	var r Receipt
	d, err := db.Digest(ctx, "b", WithReceipt(&r))
	require.NoError(t, err)
	require.EqualValues(t, 1, d.Objects)
	require.Equal(t, "eu", r.Region)
	d, err = db.Digest(ctx, "other")
	require.NoError(t, err)
	require.Zero(t, d.Objects)
}

func TestEveryCallReturnsTheServicesError(t *testing.T) {
	db, f, _ := newTestDB()
	f.before = always(func() error { return kv.Errorf(kv.KindDenied, "no") })
	o := Object{Bucket: "b", Key: "k", Type: TypeCounter}
	for name, call := range map[string]func() error{
		"add":      func() error { return db.Counter("c").Add(ctx, 1) },
		"get":      func() error { _, err := db.Counter("c").Get(ctx); return err },
		"register": func() error { _, err := db.Register("c").Get(ctx); return err },
		"mv":       func() error { _, err := db.MVRegister("c").Get(ctx); return err },
		"flag":     func() error { _, err := db.Flag("c").Get(ctx); return err },
		"members":  func() error { _, err := db.Set("c").Members(ctx); return err },
		"contains": func() error { _, err := db.Set("c").Contains(ctx, "x"); return err },
		"addall":   func() error { return db.Set("c").AddAll(ctx, []string{"x"}) },
		"elements": func() error { return first(db.Set("c").Elements(ctx)) },
		"fields":   func() error { return first(db.Map("c").Fields(ctx)) },
		"keys":     func() error { return first(db.Keys(ctx, "")) },
		"do":       func() error { _, err := db.Do(ctx, nil, []Query{{Object: o}}); return err },
		"status":   func() error { _, err := db.Status(ctx); return err },
		"digest":   func() error { _, err := db.Digest(ctx, ""); return err },
		"buckets":  func() error { return first(db.Buckets(ctx)) },
		"outcome":  func() error { _, err := db.Outcome(ctx, NewOpID()); return err },
		"opid":     func() error { return db.Counter("c").Add(ctx, 1, WithOpID(NewOpID())) },
		"update":   func() error { return db.Update(ctx, func(tx *Tx) error { return tx.Counter("c").Add(ctx, 1) }) },
		"update with an id": func() error {
			return db.Update(ctx, func(tx *Tx) error { return nil }, WithOpID(NewOpID()))
		},
		"view": func() error {
			return db.View(ctx, func(tx *Tx) error { _, err := tx.Counter("c").Get(ctx); return err })
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := call()
			require.ErrorIs(t, err, ErrDenied)
			require.Equal(t, KindOf(err), kv.KindDenied)
			require.Equal(t, OutcomeNotApplied, OutcomeOf(err))
		})
	}
}

// first is the error of an iterator's first step.
func first[T any](seq func(func(T, error) bool)) error {
	for _, err := range seq {
		return err
	}
	return nil
}

func TestOptionsReachTheService(t *testing.T) {
	db, f, _ := newTestDB()
	id := NewOpID()
	var r Receipt
	require.NoError(t, db.Counter("c").Add(ctx, 1, Eventual(), Durable(Applied), WithOpID(id), WithReceipt(&r)))
	got := f.requests()[0].Options
	require.Equal(t, LevelEventual, got.Level)
	require.Equal(t, DurabilityApplied, got.Durability)
	require.Equal(t, Attempt{ID: id, Incarnation: 1, After: 1}, got.Attempt, "a first try names the process it is for")
	require.Equal(t, "eu", r.Region)
	require.False(t, r.Commit.IsZero())

	require.NoError(t, db.Counter("c").Add(ctx, 1, WithToken(r.Token), Causal()))
	require.Equal(t, r.Token, f.requests()[1].Options.Token)
	a := Attempt{ID: id, Retry: true, Lane: clock.Lane{Region: 1}}
	require.NoError(t, db.Counter("c").Add(ctx, 1, WithAttempt(a)))
	n, err := db.Counter("c").Get(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 2, n, "the retry took effect once")
}

func TestDefaultsApplyToEveryCall(t *testing.T) {
	f := newFaulty(memkv.New().Node(1, "eu"))
	db := New(f, WithDefaults(Eventual()), WithDefaults(Durable(Applied)))
	require.NoError(t, db.Counter("c").Add(ctx, 1))
	require.NoError(t, db.Counter("c").Add(ctx, 1, Causal()))
	require.Equal(t, LevelEventual, f.requests()[0].Options.Level)
	require.Equal(t, DurabilityApplied, f.requests()[0].Options.Durability)
	require.Equal(t, LevelCausal, f.requests()[1].Options.Level)
}

func TestFirstTryNamesTheIncarnationOfNow(t *testing.T) {
	db, f, node := newTestDB()
	require.NoError(t, db.Counter("c").Add(ctx, 1, WithOpID(NewOpID())))
	node.Restart()
	require.NoError(t, db.Counter("c").Add(ctx, 1, WithOpID(NewOpID())))
	require.Equal(t, 2, f.count("Status"))
	f.before = only("Status", 3, down)
	require.ErrorIs(t, db.Counter("c").Add(ctx, 1, WithOpID(NewOpID())), ErrUnavailable)
}

func TestSessionTokenGrowsWithEveryAnswer(t *testing.T) {
	db, f, _ := newTestDB()
	s := db.Session()
	require.Zero(t, s.Token())
	require.NoError(t, s.Counter("c").Add(ctx, 1))
	first := s.Token()
	require.NoError(t, db.Counter("c").Add(ctx, 1)) // by somebody else
	_, err := s.Counter("c").Get(ctx)
	require.NoError(t, err)
	second := s.Token()
	require.True(t, second.Seen.Includes(first.Seen))
	require.NotEqual(t, first, second, "reads count: they are monotonic")
	require.NoError(t, s.Bucket("b").Counter("c").Add(ctx, 1))
	require.Equal(t, second, f.requests()[len(f.requests())-1].Options.Token, "the next call carries it")

	require.NoError(t, s.Update(ctx, func(tx *Tx) error { return tx.Counter("c").Add(ctx, 1) }))
	third := s.Token()
	require.NotEqual(t, second, third)
	require.Equal(t, third, db.Resume(third).Token())
}

// Whoever has seen something and then gives up must not read below it afterwards.
func TestSessionSawWhatAFailedTransactionRead(t *testing.T) {
	own := errors.New("sold out")
	for name, run := range map[string]func(s *Session, fn func(tx *Tx) error) error{
		"view":   func(s *Session, fn func(tx *Tx) error) error { return s.View(ctx, fn) },
		"update": func(s *Session, fn func(tx *Tx) error) error { return s.Update(ctx, fn) },
	} {
		t.Run(name, func(t *testing.T) {
			db, _, _ := newTestDB()
			s := db.Session()
			require.NoError(t, db.Counter("c").Add(ctx, 1))
			var read int64
			err := run(s, func(tx *Tx) (err error) {
				if read, err = tx.Counter("c").Get(ctx); err != nil {
					return err
				}
				return own
			})
			require.ErrorIs(t, err, own)
			require.EqualValues(t, 1, read)
			require.NotZero(t, s.Token())
		})
	}
	t.Run("a comparison that fails", func(t *testing.T) {
		db, _, _ := newTestDB()
		s := db.Session()
		require.NoError(t, db.Register("r").SetString(ctx, "a"))
		err := s.Update(ctx, func(tx *Tx) error {
			if _, err := tx.Register("r").Get(ctx); err != nil {
				return err
			}
			return tx.Register("r").CompareAndSet(ctx, []byte("never"), nil)
		})
		require.ErrorIs(t, err, ErrAborted)
		require.NotZero(t, s.Token())
	})
	t.Run("an iterator that fails", func(t *testing.T) {
		db, f, _ := newTestDB()
		s := db.Session()
		require.NoError(t, db.Set("s").Add(ctx, "a"))
		f.before = func(name string, _ int) error {
			if name == "Execute" {
				return down()
			}
			return nil
		}
		var failed error
		for _, err := range s.Set("s").Elements(ctx) {
			failed = err
		}
		require.ErrorIs(t, failed, ErrUnavailable)
		require.NotZero(t, s.Token())
	})
}

// A snapshot of another cluster is not read.
func TestSessionRefusesTransactionsOfAnotherCluster(t *testing.T) {
	db, f, _ := newTestDB()
	s := db.Session()
	f.after = func(string, int) error { // while it begins
		s.token = Token{Cluster: kv.ClusterID{9}}
		return nil
	}
	err := s.View(ctx, func(tx *Tx) error {
		_, err := tx.Counter("c").Get(ctx)
		return err
	})
	require.ErrorIs(t, err, ErrInvalid)
	require.Equal(t, []string{"Begin", "Abort"}, f.calls)
}

func TestSessionRefusesTokensOfAnotherCluster(t *testing.T) {
	db, _, _ := newTestDB()
	other := Token{Cluster: kv.ClusterID{9}, Seen: clock.VectorOf(clock.Entry{Region: 1, Time: 1})}
	s := db.Session()
	require.NoError(t, s.Counter("c").Add(ctx, 1))
	require.ErrorIs(t, s.Counter("c").Add(ctx, 1, WithToken(other)), ErrInvalid)
	require.ErrorIs(t, s.Update(ctx, func(*Tx) error { return nil }, WithToken(other)), ErrInvalid)
	require.ErrorIs(t, first(s.Keys(ctx, "", WithToken(other))), ErrInvalid)
	_, err := s.Digest(ctx, "", WithToken(other))
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorIs(t, s.saw(other), ErrInvalid)
}

func TestTokenAheadIsStale(t *testing.T) {
	db, _, _ := newTestDB()
	s := db.Session()
	require.NoError(t, s.Counter("c").Add(ctx, 1))
	ahead := Token{Cluster: s.Token().Cluster, Seen: s.Token().Seen.With(7, 99)}
	_, err := db.Resume(ahead).Counter("c").Get(ctx)
	require.ErrorIs(t, err, ErrStale)
	_, err = db.Resume(ahead).Counter("c").Get(ctx, Eventual())
	require.NoError(t, err)
}

func TestParseTokenReadsWhatStringPrints(t *testing.T) {
	db, _, _ := newTestDB()
	s := db.Session()
	require.NoError(t, s.Counter("c").Add(ctx, 1))
	got, err := ParseToken(s.Token().String())
	require.NoError(t, err)
	require.Equal(t, s.Token(), got)
	got, err = ParseToken("")
	require.NoError(t, err)
	require.Zero(t, got)
	for _, bad := range []string{"?", "AAAA", s.Token().String() + "AA"} {
		_, err = ParseToken(bad)
		require.ErrorIs(t, err, ErrInvalid, bad)
	}
	text, err := s.Token().MarshalText()
	require.NoError(t, err)
	require.Equal(t, s.Token().String(), string(text))
}

func TestOpIDsAreReadBack(t *testing.T) {
	id := NewOpID()
	require.NotEqual(t, id, NewOpID())
	got, err := ParseOpID(id.String())
	require.NoError(t, err)
	require.Equal(t, id, got)
	_, err = ParseOpID("xyz")
	require.ErrorIs(t, err, ErrInvalid)
}

func TestSessionOutcomeJoinsTheCommit(t *testing.T) {
	db, _, _ := newTestDB()
	id := NewOpID()
	require.NoError(t, db.Counter("c").Add(ctx, 1, WithOpID(id)))
	s := db.Session()
	a, err := s.Outcome(ctx, id, WithAttempt(Attempt{Lane: clock.Lane{Region: 1}}))
	require.NoError(t, err)
	require.Equal(t, OutcomeApplied, a.Outcome)
	require.True(t, s.Token().Seen.Includes(a.Token.Seen))
	require.NotZero(t, s.Token())
}

// short answers fewer values than were asked for.
type short struct{ kv.Service }

func (short) Do(context.Context, kv.Request) (kv.Response, error) { return kv.Response{}, nil }
func (short) Execute(context.Context, kv.TxnID, []kv.Op, []kv.Query) ([]kv.Value, error) {
	return nil, nil
}

func TestMissingAnswersAreAnError(t *testing.T) {
	db := New(short{memkv.New().Node(1, "eu")})
	_, err := db.Counter("c").Get(ctx)
	require.ErrorIs(t, err, ErrCorrupt)
	err = db.View(ctx, func(tx *Tx) error { _, err := tx.Counter("c").Get(ctx); return err })
	require.ErrorIs(t, err, ErrCorrupt)
}

func TestErrorsOfApplicationsComeBackAsTheyAre(t *testing.T) {
	db, _, node := newTestDB()
	mine := errors.New("mine")
	err := db.Update(ctx, func(tx *Tx) error {
		if err := tx.Counter("c").Add(ctx, 1); err != nil {
			return err
		}
		if _, err := tx.Counter("c").Get(ctx); err != nil {
			return err
		}
		return fmt.Errorf("wrapped: %w", mine)
	})
	require.ErrorIs(t, err, mine)
	require.Zero(t, node.OpenTxns())
	n, err := db.Counter("c").Get(ctx)
	require.NoError(t, err)
	require.Zero(t, n)
}
