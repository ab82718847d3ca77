package convert

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// wire sends a message through its encoding, as a call does.
func wire[M proto.Message](t require.TestingT, m M) M {
	raw, err := proto.Marshal(m)
	require.NoError(t, err)
	out := m.ProtoReflect().New().Interface().(M)
	require.NoError(t, proto.Unmarshal(raw, out))
	return out
}

var (
	genBytes = rapid.SliceOfN(rapid.Byte(), 1, 20)
	// genMaybe leaves out empty slices, which come back as nil.
	genMaybe  = rapid.OneOf(rapid.Just([]byte(nil)), genBytes)
	genName   = rapid.Map(genMaybe, func(b []byte) string { return string(b) })
	genType   = rapid.Map(rapid.Uint8Range(1, 255), func(n uint8) kv.Type { return kv.Type(n) })
	genBucket = rapid.StringN(1, 20, kv.MaxBucket)
	genRegion = rapid.Map(rapid.Uint16(), func(n uint16) clock.Region { return clock.Region(n) })
	genTime   = rapid.Map(rapid.Uint64Min(1), func(n uint64) clock.Timestamp { return clock.Timestamp(n) })
	genVector = rapid.Custom(func(t *rapid.T) clock.Vector {
		var entries []clock.Entry
		for range rapid.IntRange(0, 4).Draw(t, "entries") {
			entries = append(entries, clock.Entry{Region: genRegion.Draw(t, "region"), Time: genTime.Draw(t, "time")})
		}
		return clock.VectorOf(entries...)
	})
	genLane = rapid.Custom(func(t *rapid.T) clock.Lane {
		return clock.Lane{
			Region: genRegion.Draw(t, "region"),
			Slot:   clock.Slot(rapid.Uint8Range(0, uint8(clock.MaxSlot)).Draw(t, "slot")),
		}
	})
	genStamp = rapid.Custom(func(t *rapid.T) clock.Stamp {
		return clock.Stamp{Region: genRegion.Draw(t, "region"), Time: genTime.Draw(t, "time")}
	})
	genID    = rapid.Map(rapid.SliceOfN(rapid.Byte(), 16, 16), func(b []byte) kv.OpID { return kv.OpID(b) })
	genToken = rapid.Custom(func(t *rapid.T) kv.Token {
		if rapid.Bool().Draw(t, "none") {
			return kv.Token{}
		}
		return kv.Token{Cluster: kv.ClusterID(genID.Draw(t, "cluster")), Seen: genVector.Draw(t, "seen")}
	})
	genDuration = rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(0, math.MaxInt64/1000).Draw(t, "micros")) * time.Microsecond
	})
	genAttempt = rapid.Custom(func(t *rapid.T) kv.Attempt {
		return kv.Attempt{
			ID:          genID.Draw(t, "id"),
			Incarnation: rapid.Uint64().Draw(t, "incarnation"),
			Retry:       rapid.Bool().Draw(t, "retry"),
			Age:         genDuration.Draw(t, "age"),
			Lane:        genLane.Draw(t, "lane"),
			After:       clock.Timestamp(rapid.Uint64().Draw(t, "after")),
		}
	})
	genOptions = rapid.Custom(func(t *rapid.T) kv.Options {
		return kv.Options{
			Level:      kv.Level(rapid.Uint8().Draw(t, "level")),
			Durability: kv.Durability(rapid.Uint8().Draw(t, "durability")),
			Token:      genToken.Draw(t, "token"),
			Attempt:    genAttempt.Draw(t, "attempt"),
			Wait:       genDuration.Draw(t, "wait"),
			Bound:      genDuration.Draw(t, "bound"),
			BoundFail:  rapid.Bool().Draw(t, "fail"),
			Regions:    rapid.IntRange(0, math.MaxInt32).Draw(t, "regions"),
			Receipt:    rapid.Bool().Draw(t, "receipt"),
		}
	})
	genReceipt = rapid.Custom(func(t *rapid.T) kv.Receipt {
		return kv.Receipt{
			Level:       kv.Level(rapid.Uint8().Draw(t, "level")),
			Region:      rapid.String().Draw(t, "name"),
			Incarnation: rapid.Uint64().Draw(t, "incarnation"),
			Lane:        genLane.Draw(t, "lane"),
			Snapshot:    genVector.Draw(t, "snapshot"),
			Commit:      genStamp.Draw(t, "commit"),
			Token:       genToken.Draw(t, "token"),
			Bound:       genDuration.Draw(t, "bound"),
			Node:        rapid.String().Draw(t, "node"),
			Durability:  kv.Durability(rapid.Uint8().Draw(t, "durability")),
			Regions:     rapid.IntRange(0, math.MaxInt32).Draw(t, "regions"),
			Staleness:   slice(t, genStaleness, "staleness"),
			Paid: kv.Phases{
				Queue: genDuration.Draw(t, "queue"), Token: genDuration.Draw(t, "token wait"), Work: genDuration.Draw(t, "work"),
				Sync: genDuration.Draw(t, "sync"), Regions: genDuration.Draw(t, "others"), Certify: genDuration.Draw(t, "certify"),
			},
		}
	})
	genStaleness = rapid.Custom(func(t *rapid.T) kv.RegionStaleness {
		return kv.RegionStaleness{
			Region: genRegion.Draw(t, "region"), Name: rapid.String().Draw(t, "name"),
			Age: genDuration.Draw(t, "age"), Known: rapid.Bool().Draw(t, "known"),
		}
	})
	genObject = rapid.Custom(func(t *rapid.T) kv.Object {
		return kv.Object{
			Bucket: kv.Bucket(genBucket.Draw(t, "bucket")),
			Key:    kv.Key(genName.Draw(t, "key")),
			Type:   genType.Draw(t, "type"),
		}
	})
	genPath = rapid.Custom(func(t *rapid.T) kv.Path {
		var p kv.Path
		for range rapid.IntRange(0, kv.MaxDepth).Draw(t, "depth") {
			p = append(p, kv.Step{Name: genName.Draw(t, "name"), Type: genType.Draw(t, "type")})
		}
		return p
	})
	genOp = rapid.Custom(func(t *rapid.T) kv.Op {
		op := kv.Op{Object: genObject.Draw(t, "object"), Path: genPath.Draw(t, "path")}
		op.Verb = kv.Verb(rapid.Uint8Range(uint8(kv.VerbIncrement), uint8(kv.VerbReset)).Draw(t, "verb"))
		switch op.Verb {
		case kv.VerbIncrement:
			op.Int = rapid.Int64().Draw(t, "int")
		case kv.VerbAssign, kv.VerbAdd, kv.VerbRemove:
			op.Data = genBytes.Draw(t, "data") // an empty one comes back as empty, not as nil
		}
		switch rapid.IntRange(0, 2).Draw(t, "expect") {
		case 1:
			op.Expect = &kv.Expectation{Absent: true}
		case 2:
			op.Expect = &kv.Expectation{Value: rapid.SliceOf(rapid.Byte()).Draw(t, "value")}
		}
		return op
	})
	genQuery = rapid.Custom(func(t *rapid.T) kv.Query {
		q := kv.Query{Object: genObject.Draw(t, "object"), Path: genPath.Draw(t, "path")}
		switch q.Kind = kv.QueryKind(rapid.Uint8Range(0, 2).Draw(t, "kind")); q.Kind {
		case kv.QueryContains:
			q.Data = genBytes.Draw(t, "data")
		case kv.QueryPage:
			q.After, q.Limit = genMaybe.Draw(t, "after"), rapid.IntRange(1, kv.MaxPage).Draw(t, "limit")
		}
		return q
	})
)

func genValue(depth int) *rapid.Generator[kv.Value] {
	return rapid.Custom(func(t *rapid.T) kv.Value {
		v := kv.Value{
			Type:    genType.Draw(t, "type"),
			Present: rapid.Bool().Draw(t, "present"),
			Int:     rapid.Int64().Draw(t, "int"),
			Flag:    rapid.Bool().Draw(t, "flag"),
			Bytes:   genMaybe.Draw(t, "bytes"),
			Next:    genMaybe.Draw(t, "next"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "list") {
			v.List = append(v.List, genBytes.Draw(t, "element"))
		}
		if depth > 0 {
			for range rapid.IntRange(0, 3).Draw(t, "fields") {
				v.Fields = append(v.Fields, kv.Field{Name: genName.Draw(t, "name"), Value: genValue(depth-1).Draw(t, "value")})
			}
		}
		return v
	})
}

func slice[T any](t *rapid.T, g *rapid.Generator[T], name string) []T {
	var out []T
	for range rapid.IntRange(0, 4).Draw(t, name) {
		out = append(out, g.Draw(t, name))
	}
	return out
}

func TestRequestsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := kv.Request{
			Options: genOptions.Draw(t, "options"),
			Queries: slice(t, genQuery, "queries"),
			Ops:     slice(t, genOp, "ops"),
		}
		m, err := EncodeRequest(want)
		require.NoError(t, err)
		got, err := DecodeRequest(wire(t, m))
		require.NoError(t, err)
		normalize(got.Ops)
		normalize(want.Ops)
		require.Equal(t, want, got)
	})
}

// normalize makes empty expected values one thing: they are values all the same.
func normalize(ops []kv.Op) {
	for i := range ops {
		if e := ops[i].Expect; e != nil && len(e.Value) == 0 {
			e.Value = nil
		}
	}
}

func TestResponsesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := kv.Response{Values: slice(t, genValue(3), "values"), Receipt: genReceipt.Draw(t, "receipt")}
		m := EncodeResponse(want)
		got, err := DecodeResponse(wire(t, m))
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.LessOrEqual(t, proto.Size(&pb.DoResponse{Values: m.Values}), MaxValuesSize(want.Values))
	})
}

func TestListingsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req := kv.KeysRequest{
			Txn:     kv.TxnID(rapid.Uint64().Draw(t, "txn")),
			Options: genOptions.Draw(t, "options"),
			Bucket:  kv.Bucket(genBucket.Draw(t, "bucket")),
			Prefix:  kv.Key(genName.Draw(t, "prefix")),
			After:   genMaybe.Draw(t, "after"),
			Limit:   rapid.IntRange(1, kv.MaxPage).Draw(t, "limit"),
		}
		m, err := EncodeKeysRequest(req)
		require.NoError(t, err)
		gotReq, err := DecodeKeysRequest(wire(t, m))
		require.NoError(t, err)
		require.Equal(t, req, gotReq)

		page := kv.KeysPage{Next: genMaybe.Draw(t, "next"), Receipt: genReceipt.Draw(t, "receipt")}
		page.Objects = slice(t, genObject, "objects")
		for i := range page.Objects {
			page.Objects[i].Bucket = req.Bucket
		}
		gotPage, err := DecodeKeysPage(wire(t, EncodeKeysPage(page)), req.Bucket)
		require.NoError(t, err)
		require.Equal(t, page, gotPage)
	})
}

func TestOutcomesAndDigestsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := kv.OutcomeAnswer{
			Outcome: kv.Outcome(rapid.Uint8Range(0, 1).Draw(t, "outcome")),
			Commit:  genStamp.Draw(t, "commit"),
			Token:   genToken.Draw(t, "token"),
		}
		gotA, err := DecodeOutcome(wire(t, EncodeOutcome(a)))
		require.NoError(t, err)
		require.Equal(t, a, gotA)

		d := kv.Digest{Sum: genID.Draw(t, "sum"), Objects: rapid.Int64().Draw(t, "objects"), Receipt: genReceipt.Draw(t, "receipt")}
		gotD, err := DecodeDigest(wire(t, EncodeDigest(d)))
		require.NoError(t, err)
		require.Equal(t, d, gotD)
	})
}

func TestStatusComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := kv.Status{
			Cluster: kv.ClusterID(genID.Draw(t, "cluster")), Region: rapid.String().Draw(t, "region"),
			Lane: genLane.Draw(t, "lane"), Incarnation: rapid.Uint64().Draw(t, "incarnation"),
			Version: "1", State: "serving", Exposed: genVector.Draw(t, "E"), Durable: genVector.Draw(t, "D"),
			Stable: genVector.Draw(t, "S"), Settled: genVector.Draw(t, "T"), Horizon: genVector.Draw(t, "H"),
			Addresses: kv.Addresses{Client: "a:1", Peer: "b:2", Gossip: "c:3", Admin: rapid.String().Draw(t, "admin")},
			OpenTxns:  rapid.IntRange(0, 9).Draw(t, "open"), LogBytes: rapid.Int64().Draw(t, "log"), Pending: 3,
			Leader: rapid.String().Draw(t, "leader"), Strong: rapid.String().Draw(t, "strong"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "regions") {
			want.Regions = append(want.Regions, kv.RegionStatus{
				Region: genRegion.Draw(t, "region"), Name: rapid.String().Draw(t, "name"),
				Addresses: slice(t, rapid.String(), "addresses"), Connected: rapid.Bool().Draw(t, "connected"),
				Exposed: genTime.Draw(t, "exposed"), Lag: time.Duration(rapid.Int32().Draw(t, "lag")) * time.Microsecond,
				Reported: genVector.Draw(t, "reported"), Staleness: genDuration.Draw(t, "staleness"),
				StalenessP99: genDuration.Draw(t, "p99"), StalenessKnown: rapid.Bool().Draw(t, "known"),
			})
		}
		for l := range kv.Level(rapid.IntRange(0, 6).Draw(t, "levels")) {
			want.Levels = append(want.Levels, kv.LevelStatus{Level: l, OK: rapid.Bool().Draw(t, "ok"), Why: rapid.String().Draw(t, "why")})
		}
		got, err := DecodeStatus(wire(t, EncodeStatus(want)))
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

func TestErrorsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &kv.Error{
			Kind:       kv.Kind(rapid.Uint8Range(1, uint8(kv.KindDeadline)).Draw(t, "kind")),
			Outcome:    kv.Outcome(rapid.Uint8Range(0, 2).Draw(t, "outcome")),
			Message:    rapid.StringN(1, 50, -1).Draw(t, "message"),
			RetryAfter: time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "after")) * time.Microsecond,
			ID:         genID.Draw(t, "id"),
			Conflict:   rapid.Bool().Draw(t, "conflict"),
			Needs:      rapid.SampledFrom([]kv.Consistency{{}, {Level: kv.LevelStrong}, {Level: kv.LevelBounded, Bound: 2e9}}).Draw(t, "needs"),
		}
		if rapid.Bool().Draw(t, "token") {
			want.Token = kv.Token{Cluster: kv.ClusterID{1}, Seen: genVector.Draw(t, "seen")}
		}
		got, ok := DecodeError(EncodeError(want))
		require.True(t, ok)
		require.Equal(t, want, got)
		require.Equal(t, want, DecodeFailure(EncodeFailure(want)))
	})
}

func TestErrorCodesAreSafeForGenericClients(t *testing.T) {
	for k := kv.KindInvalid; k <= kv.KindDeadline; k++ {
		e := kv.Errorf(k, "x")
		require.NotEqual(t, codes.Unknown, status.Code(EncodeError(e)), k)
		require.NotEqual(t, codes.OK, status.Code(EncodeError(e)), k)
	}
	unknown := kv.Errorf(kv.KindUnavailable, "x").WithOutcome(kv.OutcomeUnknown)
	require.Equal(t, codes.Unknown, status.Code(EncodeError(unknown)), "or a proxy would send it again")
	require.Equal(t, codes.Unknown, status.Code(EncodeError(kv.Errorf(99, "x"))))
}

func TestWrappedAndForeignErrorsAreTranslated(t *testing.T) {
	got, ok := DecodeError(EncodeError(fmt.Errorf("commit: %w", kv.Errorf(kv.KindAborted, "no"))))
	require.True(t, ok)
	require.Equal(t, "commit: no", got.Message)
	require.Equal(t, kv.KindAborted, got.Kind)

	token := kv.Token{Cluster: kv.ClusterID{1}, Seen: clock.VectorOf(clock.Entry{Region: 1, Time: 5})}
	got, _ = DecodeError(EncodeError(kv.Errorf(kv.KindAborted, "again: %w", kv.WithToken(kv.Errorf(kv.KindAborted, "no"), token))))
	require.Equal(t, token, got.Token, "that of a cause")

	got, ok = DecodeError(EncodeError(errors.New("a fault of ours")))
	require.True(t, ok)
	require.Equal(t, kv.OutcomeUnknown, got.Outcome)
	require.Equal(t, kv.KindUnavailable, got.Kind)
	require.Equal(t, "a fault of ours", got.Message)

	got, ok = DecodeError(EncodeError(kv.ErrStale))
	require.True(t, ok)
	require.Equal(t, "stale", got.Message)

	_, ok = DecodeError(errors.New("not of gRPC"))
	require.False(t, ok)
	_, ok = DecodeError(status.Error(codes.Unavailable, "of gRPC alone"))
	require.False(t, ok)
}

func TestDetailsOfNewerServersAreTakenWithCare(t *testing.T) {
	e := DecodeFailure("m", &pb.ErrorDetail{Kind: 1000, Outcome: 7, RetryAfterMicros: math.MaxUint64, OperationId: []byte{1}, Token: []byte{9}, Needs: "?"})
	require.Equal(t, &kv.Error{Message: "m", Outcome: kv.OutcomeUnknown}, e)
	require.Equal(t, kv.Kind(200), DecodeFailure("m", &pb.ErrorDetail{Kind: 200}).Kind)
}

func TestMalformedMessagesAreRefused(t *testing.T) {
	long := make([]*pb.Step, kv.MaxDepth+1)
	for i := range long {
		long[i] = &pb.Step{Type: 1}
	}
	op := func(change func(*pb.Operation)) func() error {
		return func() error {
			m := &pb.Operation{Bucket: "b", Type: 1, Verb: &pb.Operation_Increment{Increment: 1}}
			change(m)
			_, err := DecodeRequest(&pb.DoRequest{Operations: []*pb.Operation{m}})
			return err
		}
	}
	query := func(change func(*pb.Query)) func() error {
		return func() error {
			m := &pb.Query{Bucket: "b", Type: 1}
			change(m)
			_, err := DecodeRequest(&pb.DoRequest{Queries: []*pb.Query{m}})
			return err
		}
	}
	options := func(m *pb.Options) func() error {
		return func() error { _, err := DecodeRequest(&pb.DoRequest{Options: m}); return err }
	}
	for name, c := range map[string]struct {
		call func() error
		kind kv.Kind
	}{
		"nil operation":  {func() error { _, err := DecodeOps([]*pb.Operation{nil}); return err }, kv.KindInvalid},
		"nil query":      {func() error { _, err := DecodeQueries([]*pb.Query{nil}); return err }, kv.KindInvalid},
		"no bucket":      {op(func(m *pb.Operation) { m.Bucket = "" }), kv.KindInvalid},
		"long bucket":    {op(func(m *pb.Operation) { m.Bucket = string(make([]byte, 256)) }), kv.KindInvalid},
		"no type":        {op(func(m *pb.Operation) { m.Type = 0 }), kv.KindInvalid},
		"negative type":  {op(func(m *pb.Operation) { m.Type = -1 }), kv.KindInvalid},
		"large type":     {op(func(m *pb.Operation) { m.Type = 256 }), kv.KindInvalid},
		"no verb":        {op(func(m *pb.Operation) { m.Verb = nil }), kv.KindInvalid},
		"deep path":      {op(func(m *pb.Operation) { m.Path = long }), kv.KindInvalid},
		"path type":      {op(func(m *pb.Operation) { m.Path = []*pb.Step{nil} }), kv.KindInvalid},
		"query bucket":   {query(func(m *pb.Query) { m.Bucket = "" }), kv.KindInvalid},
		"query type":     {query(func(m *pb.Query) { m.Type = 0 }), kv.KindInvalid},
		"query path":     {query(func(m *pb.Query) { m.Path = long }), kv.KindInvalid},
		"no page limit":  {query(func(m *pb.Query) { m.Question = &pb.Query_Page{} }), kv.KindInvalid},
		"page limit":     {query(func(m *pb.Query) { m.Question = &pb.Query_Page{Page: &pb.Page{Limit: kv.MaxPage + 1}} }), kv.KindInvalid},
		"level":          {options(&pb.Options{Level: 256}), kv.KindLevelRefused},
		"negative level": {options(&pb.Options{Level: -1}), kv.KindLevelRefused},
		"durability":     {options(&pb.Options{Durability: 256}), kv.KindLevelRefused},
		"regions":        {options(&pb.Options{Regions: math.MaxUint32}), kv.KindLevelRefused},
		"bound":          {options(&pb.Options{BoundMicros: math.MaxUint64}), kv.KindInvalid},
		"token":          {options(&pb.Options{Token: []byte("junk")}), kv.KindInvalid},
		"id":             {options(&pb.Options{Attempt: &pb.Attempt{Id: []byte{1}}}), kv.KindInvalid},
		"age":            {options(&pb.Options{Attempt: &pb.Attempt{AgeMicros: math.MaxUint64}}), kv.KindInvalid},
		"wait":           {options(&pb.Options{WaitMicros: math.MaxUint64}), kv.KindInvalid},
		"lane region":    {options(&pb.Options{Attempt: &pb.Attempt{Lane: &pb.Lane{Region: 1 << 16}}}), kv.KindInvalid},
		"lane slot":      {options(&pb.Options{Attempt: &pb.Attempt{Lane: &pb.Lane{Slot: 64}}}), kv.KindInvalid},
		"operations":     {func() error { _, err := DecodeOps(make([]*pb.Operation, kv.MaxOps+1)); return err }, kv.KindTooLarge},
		"queries":        {func() error { _, err := DecodeQueries(make([]*pb.Query, kv.MaxQueries+1)); return err }, kv.KindTooLarge},
		"keys bucket":    {func() error { _, err := DecodeKeysRequest(&pb.KeysRequest{Limit: 1}); return err }, kv.KindInvalid},
		"keys limit":     {func() error { _, err := DecodeKeysRequest(&pb.KeysRequest{Bucket: "b"}); return err }, kv.KindInvalid},
		"keys options": {func() error {
			_, err := DecodeKeysRequest(&pb.KeysRequest{Bucket: "b", Limit: 1, Options: &pb.Options{Level: -1}})
			return err
		}, kv.KindLevelRefused},
		"value type":  {func() error { _, err := DecodeValues([]*pb.Value{{Type: 256}}); return err }, kv.KindCorrupt},
		"value depth": {func() error { _, err := DecodeValues([]*pb.Value{deep(40)}); return err }, kv.KindCorrupt},
		"listed type": {func() error {
			_, err := DecodeKeysPage(&pb.KeysResponse{Objects: []*pb.ListedObject{{}}}, "b")
			return err
		}, kv.KindInvalid},
		"outcome unknown": {func() error { _, err := DecodeOutcome(&pb.OutcomeResponse{Outcome: 2}); return err }, kv.KindCorrupt},
		"outcome stamp": {func() error {
			_, err := DecodeOutcome(&pb.OutcomeResponse{Commit: &pb.Stamp{Region: 1 << 16}})
			return err
		}, kv.KindCorrupt},
		"digest":        {func() error { _, err := DecodeDigest(&pb.DigestResponse{Sum: []byte{1}}); return err }, kv.KindCorrupt},
		"cluster":       {func() error { _, err := DecodeStatus(&pb.StatusResponse{}); return err }, kv.KindCorrupt},
		"receipt level": {func() error { _, err := DecodeReceipt(&pb.Receipt{Level: 256}); return err }, kv.KindCorrupt},
		"status level": {func() error {
			_, err := DecodeStatus(&pb.StatusResponse{Cluster: make([]byte, 16), Levels: []*pb.LevelStatus{{Level: -1}}})
			return err
		}, kv.KindCorrupt},
		"status staleness":   {func() error { _, err := decodeRegion(&pb.RegionStatus{StalenessMicros: math.MaxUint64}); return err }, kv.KindInvalid},
		"status p99":         {func() error { _, err := decodeRegion(&pb.RegionStatus{StalenessP99Micros: math.MaxUint64}); return err }, kv.KindInvalid},
		"receipt bound":      {func() error { _, err := DecodeReceipt(&pb.Receipt{BoundMicros: math.MaxUint64}); return err }, kv.KindInvalid},
		"receipt durability": {func() error { _, err := DecodeReceipt(&pb.Receipt{Durability: 256}); return err }, kv.KindCorrupt},
		"receipt regions":    {func() error { _, err := DecodeReceipt(&pb.Receipt{Regions: math.MaxUint32}); return err }, kv.KindCorrupt},
		"receipt staleness": {func() error {
			_, err := DecodeReceipt(&pb.Receipt{Staleness: []*pb.RegionStaleness{{Region: 1 << 16}}})
			return err
		}, kv.KindCorrupt},
		"receipt age": {func() error {
			_, err := DecodeReceipt(&pb.Receipt{Staleness: []*pb.RegionStaleness{{AgeMicros: math.MaxUint64}}})
			return err
		}, kv.KindInvalid},
		"receipt phases": {func() error {
			_, err := DecodeReceipt(&pb.Receipt{Paid: &pb.Phases{CertifyMicros: math.MaxUint64}})
			return err
		}, kv.KindInvalid},
		"receipt lane": {func() error { _, err := DecodeReceipt(&pb.Receipt{Lane: &pb.Lane{Slot: 64}}); return err }, kv.KindInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.call()
			require.Error(t, err)
			require.Equal(t, c.kind, kv.KindOf(err))
			require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
		})
	}
}

func deep(n int) *pb.Value {
	v := &pb.Value{Type: 9}
	for range n {
		v = &pb.Value{Type: 9, Fields: []*pb.Field{{Value: v}}}
	}
	return v
}

func TestMalformedVectorsAreRefused(t *testing.T) {
	for name, v := range map[string]*pb.Vector{
		"unequal":    {Regions: []uint32{1, 2}, Times: []uint64{1}},
		"descending": {Regions: []uint32{2, 1}, Times: []uint64{1, 1}},
		"twice":      {Regions: []uint32{1, 1}, Times: []uint64{1, 1}},
		"zero":       {Regions: []uint32{1}, Times: []uint64{0}},
		"region":     {Regions: []uint32{1 << 16}, Times: []uint64{1}},
		"too many":   {Regions: make([]uint32, 1025), Times: make([]uint64, 1025)},
	} {
		_, err := DecodeReceipt(&pb.Receipt{Snapshot: v})
		require.ErrorIs(t, err, kv.ErrCorrupt, name)
		status := &pb.StatusResponse{Cluster: make([]byte, 16), Horizon: v}
		_, err = DecodeStatus(status)
		require.ErrorIs(t, err, kv.ErrCorrupt, name)
		status = &pb.StatusResponse{Cluster: make([]byte, 16), Regions: []*pb.RegionStatus{{Reported: v}}}
		_, err = DecodeStatus(status)
		require.ErrorIs(t, err, kv.ErrCorrupt, name)
	}
	_, err := DecodeStatus(&pb.StatusResponse{Cluster: make([]byte, 16), Regions: []*pb.RegionStatus{{Region: 1 << 16}}})
	require.ErrorIs(t, err, kv.ErrInvalid)
	_, err = DecodeStatus(&pb.StatusResponse{Cluster: make([]byte, 16), Lane: &pb.Lane{Slot: 64}})
	require.ErrorIs(t, err, kv.ErrInvalid)
}

func TestNounsThatMessagesCannotCarryAreRefused(t *testing.T) {
	o := kv.Object{Bucket: "b", Key: "k", Type: 1}
	for name, r := range map[string]kv.Request{
		"op bucket":    {Ops: []kv.Op{{Object: kv.Object{Bucket: "\xff"}, Verb: kv.VerbReset}}},
		"op verb":      {Ops: []kv.Op{{Object: o}}},
		"query bucket": {Queries: []kv.Query{{}}},
		"query kind":   {Queries: []kv.Query{{Object: o, Kind: 9}}},
		"query limit":  {Queries: []kv.Query{{Object: o, Kind: kv.QueryPage}}},
	} {
		_, err := EncodeRequest(r)
		require.ErrorIs(t, err, kv.ErrInvalid, name)
	}
	_, err := EncodeRequest(kv.Request{Ops: make([]kv.Op, kv.MaxOps+1)})
	require.ErrorIs(t, err, kv.ErrTooLarge)
	_, err = EncodeRequest(kv.Request{Queries: make([]kv.Query, kv.MaxQueries+1)})
	require.ErrorIs(t, err, kv.ErrTooLarge)
	_, err = EncodeKeysRequest(kv.KeysRequest{Limit: 1})
	require.ErrorIs(t, err, kv.ErrInvalid)
	_, err = EncodeKeysRequest(kv.KeysRequest{Bucket: "b"})
	require.ErrorIs(t, err, kv.ErrInvalid)
}

func TestAgesAreNeverToldAsLessThanTheyAre(t *testing.T) {
	require.EqualValues(t, 0, micros(-1))
	require.EqualValues(t, 0, micros(0))
	require.EqualValues(t, 1, micros(1))
	require.EqualValues(t, 1, micros(1000))
	require.EqualValues(t, 2, micros(1001))
}

// A bound that is told as more than it is would be a level weakened in silence.
func TestBoundsAreNeverToldAsMoreThanTheyAre(t *testing.T) {
	for bound, micros := range map[time.Duration]uint64{-1: 0, 0: 0, 1: 0, 999: 0, 1000: 1, 1999: 1, time.Second: 1e6} {
		require.Equal(t, micros, EncodeOptions(kv.Options{Level: kv.LevelBounded, Bound: bound}).BoundMicros, bound)
	}
	require.EqualValues(t, 0, EncodeOptions(kv.Options{Durability: kv.DurabilityRegions, Regions: -1}).Regions)
	require.EqualValues(t, math.MaxInt32, EncodeOptions(kv.Options{Durability: kv.DurabilityRegions, Regions: math.MaxInt}).Regions)
}

func TestDefaultsTakeNoBytes(t *testing.T) {
	require.Nil(t, EncodeOptions(kv.Options{}))
	require.Nil(t, EncodeAttempt(kv.Attempt{}))
	r, err := DecodeReceipt(nil)
	require.NoError(t, err)
	require.Zero(t, r)
}

// Every message of the API has a documented place here: whoever adds a field is made to think of
// its translation.
func TestMessagesHaveTheFieldsThatAreTranslated(t *testing.T) {
	want := map[protoreflect.Name]int{
		"Options": 9, "Attempt": 6, "Receipt": 13, "RegionStaleness": 4, "Phases": 6, "Operation": 12, "Query": 6, "Page": 2, "Value": 8,
		"Field": 2, "Step": 2, "Expectation": 1, "DoRequest": 3, "DoResponse": 2, "BeginRequest": 3,
		"BeginResponse": 2, "ExecuteRequest": 3, "ExecuteResponse": 1, "CommitRequest": 3, "CommitResponse": 1,
		"AbortRequest": 1, "KeysRequest": 6, "KeysResponse": 3, "ListedObject": 2, "OutcomeRequest": 1,
		"OutcomeResponse": 3, "DigestRequest": 2, "DigestResponse": 3, "StatusResponse": 19, "Addresses": 4, "RegionStatus": 12, "LevelStatus": 3,
		"BucketsRequest": 2, "BucketsResponse": 2, "ErrorDetail": 7, "PipeRequest": 2, "PipeCall": 4, "PipeResponse": 2, "PipeAnswer": 4, "Vector": 2, "Stamp": 2, "Lane": 2,
		"BucketRules": 10, "DecidedRules": 3, "CreateBucketRequest": 1, "CreateBucketResponse": 1, "AlterBucketRequest": 2,
		"AlterBucketResponse": 1, "BucketRulesResponse": 1, "DropBucketRequest": 3, "DropBucketResponse": 2, "RemoveRegionRequest": 1,
	}
	messages := pb.File_theriac_v1_theriac_proto.Messages()
	for i := range messages.Len() {
		m := messages.Get(i)
		require.Equal(t, want[m.Name()], m.Fields().Len(), m.Name())
	}
}

func FuzzDecode(f *testing.F) {
	o := kv.Object{Bucket: "b", Key: "k", Type: 9}
	path := kv.Path{{Name: "f", Type: 6}}
	m, err := EncodeRequest(kv.Request{
		Options: kv.Options{Attempt: kv.Attempt{Retry: true}},
		Ops:     []kv.Op{{Object: o, Path: path, Verb: kv.VerbAdd, Data: []byte("x"), Expect: &kv.Expectation{}}},
		Queries: []kv.Query{{Object: o, Path: path, Kind: kv.QueryPage, Limit: 1}},
	})
	require.NoError(f, err)
	raw, err := proto.Marshal(m)
	require.NoError(f, err)
	f.Add(raw)
	raw, err = proto.Marshal(EncodeResponse(kv.Response{Values: []kv.Value{{Type: 9, Fields: []kv.Field{{Name: "x"}}}}}))
	require.NoError(f, err)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		decodeAs(t, raw, &pb.DoRequest{}, func(m *pb.DoRequest) error { _, err := DecodeRequest(m); return err })
		decodeAs(t, raw, &pb.DoResponse{}, func(m *pb.DoResponse) error { _, err := DecodeResponse(m); return err })
		decodeAs(t, raw, &pb.KeysRequest{}, func(m *pb.KeysRequest) error { _, err := DecodeKeysRequest(m); return err })
		decodeAs(t, raw, &pb.KeysResponse{}, func(m *pb.KeysResponse) error { _, err := DecodeKeysPage(m, "b"); return err })
		decodeAs(t, raw, &pb.OutcomeResponse{}, func(m *pb.OutcomeResponse) error { _, err := DecodeOutcome(m); return err })
		decodeAs(t, raw, &pb.DigestResponse{}, func(m *pb.DigestResponse) error { _, err := DecodeDigest(m); return err })
		decodeAs(t, raw, &pb.StatusResponse{}, func(m *pb.StatusResponse) error { _, err := DecodeStatus(m); return err })
		decodeAs(t, raw, &pb.BucketRules{}, func(m *pb.BucketRules) error { _, err := DecodeRules(m); return err })
		decodeAs(t, raw, &pb.BucketRulesResponse{}, func(m *pb.BucketRulesResponse) error { _, err := DecodeDecidedList(m); return err })
		var detail pb.ErrorDetail
		if proto.Unmarshal(raw, &detail) == nil {
			DecodeFailure("m", &detail)
		}
	})
}

// decodeAs decodes what is a message at all; errors must be ours.
func decodeAs[M proto.Message](t *testing.T, raw []byte, m M, decode func(M) error) {
	if proto.Unmarshal(raw, m) != nil {
		return
	}
	if err := decode(m); err != nil && kv.KindOf(err) == 0 {
		t.Fatalf("%T: %v is no *kv.Error", m, err)
	}
}
