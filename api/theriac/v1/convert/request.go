package convert

import (
	"math"
	"time"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// EncodeRequest makes the message of a one-shot transaction.
func EncodeRequest(r kv.Request) (*pb.DoRequest, error) {
	ops, err := EncodeOps(r.Ops)
	if err != nil {
		return nil, err
	}
	queries, err := EncodeQueries(r.Queries)
	if err != nil {
		return nil, err
	}
	return &pb.DoRequest{Options: EncodeOptions(r.Options), Queries: queries, Operations: ops}, nil
}

// DecodeRequest reads the message of a one-shot transaction.
func DecodeRequest(m *pb.DoRequest) (kv.Request, error) {
	var r kv.Request
	var err error
	if r.Options, err = DecodeOptions(m.GetOptions()); err != nil {
		return r, err
	}
	if r.Queries, err = DecodeQueries(m.GetQueries()); err != nil {
		return r, err
	}
	r.Ops, err = DecodeOps(m.GetOperations())
	return r, err
}

// EncodeOptions makes the message of options; nil for the defaults.
func EncodeOptions(o kv.Options) *pb.Options {
	token := o.Token.Encode()
	if o.Level == 0 && o.Durability == 0 && token == nil && o.Attempt == (kv.Attempt{}) && o.Wait == 0 &&
		o.Bound == 0 && !o.BoundFail && o.Regions == 0 && !o.Receipt {
		return nil
	}
	return &pb.Options{
		Level:       pb.Level(o.Level),
		Durability:  pb.Durability(o.Durability),
		Token:       token,
		Attempt:     EncodeAttempt(o.Attempt),
		WaitMicros:  EncodeDuration(o.Wait),
		BoundMicros: encodeBound(o.Bound),
		BoundFail:   o.BoundFail,
		Regions:     encodeRegions(o.Regions),
		Receipt:     o.Receipt,
	}
}

// encodeBound rounds down, so that no bound is told as more than it is. What Check refuses stays refused.
func encodeBound(d time.Duration) uint64 { return uint64(max(d, 0) / time.Microsecond) }

// encodeRegions keeps what no cluster has beyond what any has.
func encodeRegions(n int) uint32 { return uint32(min(max(n, 0), math.MaxInt32)) }

// DecodeOptions reads options; nil gives the defaults.
func DecodeOptions(m *pb.Options) (kv.Options, error) {
	var o kv.Options
	if m == nil {
		return o, nil
	}
	if m.Level < 0 || m.Level > math.MaxUint8 {
		return o, kv.Errorf(kv.KindLevelRefused, "unknown level %d", m.Level)
	}
	if m.Durability < 0 || m.Durability > math.MaxUint8 {
		return o, kv.Errorf(kv.KindLevelRefused, "unknown durability %d", m.Durability)
	}
	if m.Regions > math.MaxInt32 {
		return o, kv.Errorf(kv.KindLevelRefused, "durability in %d regions: no cluster has so many", m.Regions)
	}
	o.Level, o.BoundFail = kv.Level(m.Level), m.BoundFail
	o.Durability, o.Regions, o.Receipt = kv.Durability(m.Durability), int(m.Regions), m.Receipt
	var err error
	if o.Bound, err = DecodeDuration(m.BoundMicros); err != nil {
		return o, err
	}
	if o.Token, err = kv.DecodeToken(m.Token); err != nil {
		return o, err
	}
	if o.Attempt, err = DecodeAttempt(m.Attempt); err != nil {
		return o, err
	}
	o.Wait, err = DecodeDuration(m.WaitMicros)
	return o, err
}

// EncodeAttempt makes the message of an attempt; nil for none.
func EncodeAttempt(a kv.Attempt) *pb.Attempt {
	if a == (kv.Attempt{}) {
		return nil
	}
	return &pb.Attempt{
		Id:          encodeID(a.ID),
		Incarnation: a.Incarnation,
		Retry:       a.Retry,
		AgeMicros:   micros(a.Age),
		Lane:        encodeLane(a.Lane),
		After:       uint64(a.After),
	}
}

// DecodeAttempt reads an attempt; nil gives none.
func DecodeAttempt(m *pb.Attempt) (kv.Attempt, error) {
	if m == nil {
		return kv.Attempt{}, nil
	}
	a := kv.Attempt{Incarnation: m.Incarnation, Retry: m.Retry, After: clock.Timestamp(m.After)}
	var err error
	if a.ID, err = decodeID(m.Id); err != nil {
		return a, err
	}
	if a.Age, err = duration(m.AgeMicros); err != nil {
		return a, err
	}
	a.Lane, err = decodeLane(m.Lane)
	return a, err
}

func encodeID(id kv.OpID) []byte {
	if id.IsZero() {
		return nil
	}
	return id[:]
}

func decodeID(b []byte) (kv.OpID, error) {
	var id kv.OpID
	if len(b) != 0 && len(b) != len(id) {
		return id, kv.Errorf(kv.KindInvalid, "operation id of %d bytes: want %d", len(b), len(id))
	}
	copy(id[:], b)
	return id, nil
}

// EncodeDuration gives microseconds, rounded up; 0 for none.
func EncodeDuration(d time.Duration) uint64 { return micros(d) }

// DecodeDuration reads microseconds.
func DecodeDuration(micros uint64) (time.Duration, error) { return duration(micros) }

// micros rounds up, so that an age is never told as less than it is.
func micros(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	n := uint64(d / time.Microsecond)
	if d%time.Microsecond != 0 {
		n++
	}
	return n
}

func duration(micros uint64) (time.Duration, error) {
	if micros > math.MaxInt64/uint64(time.Microsecond) {
		return 0, kv.Errorf(kv.KindInvalid, "duration of %d microseconds: beyond 292 years", micros)
	}
	return time.Duration(micros) * time.Microsecond, nil
}

func encodeLane(l clock.Lane) *pb.Lane {
	if l == (clock.Lane{}) {
		return nil
	}
	return &pb.Lane{Region: uint32(l.Region), Slot: uint32(l.Slot)}
}

func decodeLane(m *pb.Lane) (clock.Lane, error) {
	if m == nil {
		return clock.Lane{}, nil
	}
	if m.Region > math.MaxUint16 || m.Slot > uint32(clock.MaxSlot) {
		return clock.Lane{}, kv.Errorf(kv.KindInvalid, "no lane %d.%d", m.Region, m.Slot)
	}
	return clock.Lane{Region: clock.Region(m.Region), Slot: clock.Slot(m.Slot)}, nil
}

// EncodeOps makes the messages of operations.
func EncodeOps(ops []kv.Op) ([]*pb.Operation, error) {
	if len(ops) == 0 {
		return nil, nil
	}
	if err := checkCount("operations", len(ops), kv.MaxOps); err != nil {
		return nil, err
	}
	space := make([]pb.Operation, len(ops))
	out := make([]*pb.Operation, len(ops))
	for i := range ops {
		out[i] = &space[i]
		if err := encodeOp(&space[i], &ops[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func encodeOp(m *pb.Operation, op *kv.Op) error {
	if err := kv.CheckBucket(op.Bucket); err != nil {
		return err
	}
	m.Bucket, m.Key, m.Type, m.Path = string(op.Bucket), []byte(op.Key), pb.Type(op.Type), encodePath(op.Path)
	if op.Expect != nil {
		m.Expect = &pb.Expectation{}
		if !op.Expect.Absent {
			m.Expect.Value = notNil(op.Expect.Value)
		}
	}
	switch op.Verb {
	case kv.VerbIncrement:
		m.Verb = &pb.Operation_Increment{Increment: op.Int}
	case kv.VerbAssign:
		m.Verb = &pb.Operation_Assign{Assign: op.Data}
	case kv.VerbEnable:
		m.Verb = &pb.Operation_Enable{Enable: &pb.Enable{}}
	case kv.VerbDisable:
		m.Verb = &pb.Operation_Disable{Disable: &pb.Disable{}}
	case kv.VerbAdd:
		m.Verb = &pb.Operation_Add{Add: op.Data}
	case kv.VerbRemove:
		m.Verb = &pb.Operation_Remove{Remove: op.Data}
	case kv.VerbReset:
		m.Verb = &pb.Operation_Reset_{Reset_: &pb.Reset{}}
	default:
		return kv.Errorf(kv.KindInvalid, "operation on key %q has no verb that this client knows: %s", op.Key, op.Verb)
	}
	return nil
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// DecodeOps reads operations.
func DecodeOps(ms []*pb.Operation) ([]kv.Op, error) {
	if len(ms) == 0 {
		return nil, nil
	}
	if err := checkCount("operations", len(ms), kv.MaxOps); err != nil {
		return nil, err
	}
	ops := make([]kv.Op, len(ms))
	for i, m := range ms {
		if err := decodeOp(&ops[i], m); err != nil {
			return nil, err
		}
	}
	return ops, nil
}

func decodeOp(op *kv.Op, m *pb.Operation) error {
	var err error
	if op.Object, err = decodeObject(m.GetBucket(), m.GetKey(), m.GetType()); err != nil {
		return err
	}
	if op.Path, err = decodePath(m.GetPath()); err != nil {
		return err
	}
	if m.Expect != nil {
		op.Expect = &kv.Expectation{Absent: m.Expect.Value == nil, Value: m.Expect.Value}
	}
	switch v := m.GetVerb().(type) {
	case *pb.Operation_Increment:
		op.Verb, op.Int = kv.VerbIncrement, v.Increment
	case *pb.Operation_Assign:
		op.Verb, op.Data = kv.VerbAssign, v.Assign
	case *pb.Operation_Enable:
		op.Verb = kv.VerbEnable
	case *pb.Operation_Disable:
		op.Verb = kv.VerbDisable
	case *pb.Operation_Add:
		op.Verb, op.Data = kv.VerbAdd, v.Add
	case *pb.Operation_Remove:
		op.Verb, op.Data = kv.VerbRemove, v.Remove
	case *pb.Operation_Reset_:
		op.Verb = kv.VerbReset
	default:
		return kv.Errorf(kv.KindInvalid, "operation on key %q has no verb that this server knows", m.GetKey())
	}
	return nil
}

// EncodeQueries makes the messages of queries.
func EncodeQueries(queries []kv.Query) ([]*pb.Query, error) {
	if len(queries) == 0 {
		return nil, nil
	}
	if err := checkCount("queries", len(queries), kv.MaxQueries); err != nil {
		return nil, err
	}
	space := make([]pb.Query, len(queries))
	out := make([]*pb.Query, len(queries))
	for i := range queries {
		out[i] = &space[i]
		if err := encodeQuery(&space[i], &queries[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func encodeQuery(m *pb.Query, q *kv.Query) error {
	if err := kv.CheckBucket(q.Bucket); err != nil {
		return err
	}
	m.Bucket, m.Key, m.Type, m.Path = string(q.Bucket), []byte(q.Key), pb.Type(q.Type), encodePath(q.Path)
	switch q.Kind {
	case kv.QueryValue:
	case kv.QueryContains:
		m.Question = &pb.Query_Contains{Contains: q.Data}
	case kv.QueryPage:
		limit, err := encodeLimit(q.Limit)
		if err != nil {
			return err
		}
		m.Question = &pb.Query_Page{Page: &pb.Page{After: q.After, Limit: limit}}
	default:
		return kv.Errorf(kv.KindInvalid, "query of key %q is of unknown kind %d", q.Key, q.Kind)
	}
	return nil
}

// DecodeQueries reads queries.
func DecodeQueries(ms []*pb.Query) ([]kv.Query, error) {
	if len(ms) == 0 {
		return nil, nil
	}
	if err := checkCount("queries", len(ms), kv.MaxQueries); err != nil {
		return nil, err
	}
	queries := make([]kv.Query, len(ms))
	for i, m := range ms {
		if err := decodeQuery(&queries[i], m); err != nil {
			return nil, err
		}
	}
	return queries, nil
}

func decodeQuery(q *kv.Query, m *pb.Query) error {
	var err error
	if q.Object, err = decodeObject(m.GetBucket(), m.GetKey(), m.GetType()); err != nil {
		return err
	}
	if q.Path, err = decodePath(m.GetPath()); err != nil {
		return err
	}
	switch v := m.GetQuestion().(type) {
	case nil:
		q.Kind = kv.QueryValue
	case *pb.Query_Contains:
		q.Kind, q.Data = kv.QueryContains, v.Contains
	case *pb.Query_Page:
		q.Kind, q.After = kv.QueryPage, v.Page.GetAfter()
		q.Limit, err = decodeLimit(v.Page.GetLimit())
	}
	return err
}

func encodeLimit(n int) (uint32, error) {
	if n < 1 || n > kv.MaxPage {
		return 0, kv.Errorf(kv.KindInvalid, "page limit %d: want 1 to %d", n, kv.MaxPage)
	}
	return uint32(n), nil
}

func decodeLimit(n uint32) (int, error) {
	if n < 1 || n > kv.MaxPage {
		return 0, kv.Errorf(kv.KindInvalid, "page limit %d: want 1 to %d", n, kv.MaxPage)
	}
	return int(n), nil
}

func checkCount(what string, n, most int) error {
	if n > most {
		return kv.Errorf(kv.KindTooLarge, "%d %s in one request: the limit is %d; split it", n, what, most)
	}
	return nil
}

// checkBucket refuses a name that a message can't carry.
func decodeObject(bucket string, key []byte, t pb.Type) (kv.Object, error) {
	if err := kv.CheckBucket(kv.Bucket(bucket)); err != nil {
		return kv.Object{}, err
	}
	typ, err := decodeType(t)
	return kv.Object{Bucket: kv.Bucket(bucket), Key: kv.Key(key), Type: typ}, err
}

func decodeType(t pb.Type) (kv.Type, error) {
	if t < 1 || t > math.MaxUint8 {
		return 0, kv.Errorf(kv.KindInvalid, "unknown data type %d", t)
	}
	return kv.Type(t), nil
}

func encodePath(p kv.Path) []*pb.Step {
	if len(p) == 0 {
		return nil
	}
	out := make([]*pb.Step, len(p))
	for i, s := range p {
		out[i] = &pb.Step{Name: []byte(s.Name), Type: pb.Type(s.Type)}
	}
	return out
}

func decodePath(ms []*pb.Step) (kv.Path, error) {
	if len(ms) == 0 {
		return nil, nil
	}
	if len(ms) > kv.MaxDepth {
		return nil, kv.Errorf(kv.KindInvalid, "path of %d fields: the limit is %d", len(ms), kv.MaxDepth)
	}
	p := make(kv.Path, len(ms))
	for i, m := range ms {
		t, err := decodeType(m.GetType())
		if err != nil {
			return nil, err
		}
		p[i] = kv.Step{Name: string(m.GetName()), Type: t}
	}
	return p, nil
}
