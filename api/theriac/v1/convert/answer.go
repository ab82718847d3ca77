package convert

import (
	"math"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// EncodeResponse makes the message of a one-shot transaction's answer.
func EncodeResponse(r kv.Response) *pb.DoResponse {
	return &pb.DoResponse{Values: EncodeValues(r.Values), Receipt: EncodeReceipt(r.Receipt)}
}

// DecodeResponse reads a one-shot transaction's answer.
func DecodeResponse(m *pb.DoResponse) (kv.Response, error) {
	var r kv.Response
	var err error
	if r.Values, err = DecodeValues(m.GetValues()); err != nil {
		return r, err
	}
	r.Receipt, err = DecodeReceipt(m.GetReceipt())
	return r, err
}

func encodeStamp(s clock.Stamp) *pb.Stamp {
	if s.IsZero() {
		return nil
	}
	return &pb.Stamp{Region: uint32(s.Region), Time: uint64(s.Time)}
}

func decodeStamp(m *pb.Stamp) (clock.Stamp, error) {
	if m == nil {
		return clock.Stamp{}, nil
	}
	if m.Region > math.MaxUint16 {
		return clock.Stamp{}, kv.Errorf(kv.KindCorrupt, "stamp of region %d: the highest is %d", m.Region, math.MaxUint16)
	}
	return clock.Stamp{Region: clock.Region(m.Region), Time: clock.Timestamp(m.Time)}, nil
}

func encodeVector(v clock.Vector) *pb.Vector {
	if len(v) == 0 {
		return nil
	}
	m := &pb.Vector{Regions: make([]uint32, len(v)), Times: make([]uint64, len(v))}
	for i, e := range v {
		m.Regions[i], m.Times[i] = uint32(e.Region), uint64(e.Time)
	}
	return m
}

func decodeVector(m *pb.Vector) (clock.Vector, error) {
	if len(m.GetRegions()) == 0 && len(m.GetTimes()) == 0 {
		return nil, nil
	}
	if len(m.Regions) != len(m.Times) || len(m.Regions) > clock.MaxVectorEntries {
		return nil, kv.Errorf(kv.KindCorrupt, "vector of %d regions and %d times", len(m.Regions), len(m.Times))
	}
	v := make(clock.Vector, len(m.Regions))
	for i, r := range m.Regions {
		if r > math.MaxUint16 || m.Times[i] == 0 || i > 0 && r <= m.Regions[i-1] {
			return nil, kv.Errorf(kv.KindCorrupt, "malformed vector: regions %v", m.Regions)
		}
		v[i] = clock.Entry{Region: clock.Region(r), Time: clock.Timestamp(m.Times[i])}
	}
	return v, nil
}

// EncodeValues makes the messages of values.
func EncodeValues(values []kv.Value) []*pb.Value {
	if len(values) == 0 {
		return nil
	}
	out := make([]*pb.Value, len(values))
	for i := range values {
		out[i] = encodeValue(&values[i])
	}
	return out
}

func encodeValue(v *kv.Value) *pb.Value {
	return &pb.Value{
		Type:    pb.Type(v.Type),
		Present: v.Present,
		Number:  v.Int,
		Flag:    v.Flag,
		Data:    v.Bytes,
		List:    v.List,
		Fields:  encodeFields(v.Fields),
		Next:    v.Next,
	}
}

func encodeFields(fields []kv.Field) []*pb.Field {
	if len(fields) == 0 {
		return nil
	}
	out := make([]*pb.Field, len(fields))
	for i := range fields {
		out[i] = &pb.Field{Name: []byte(fields[i].Name), Value: encodeValue(&fields[i].Value)}
	}
	return out
}

// DecodeValues reads values.
func DecodeValues(ms []*pb.Value) ([]kv.Value, error) {
	if len(ms) == 0 {
		return nil, nil
	}
	values := make([]kv.Value, len(ms))
	for i, m := range ms {
		if err := decodeValue(&values[i], m, 0); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func decodeValue(v *kv.Value, m *pb.Value, depth int) error {
	if m.GetType() < 0 || m.GetType() > math.MaxUint8 || depth > kv.MaxDepth+1 {
		return kv.Errorf(kv.KindCorrupt, "value of unknown type %d at depth %d", m.GetType(), depth)
	}
	*v = kv.Value{
		Type:    kv.Type(m.GetType()),
		Present: m.GetPresent(),
		Int:     m.GetNumber(),
		Flag:    m.GetFlag(),
		Bytes:   m.GetData(),
		List:    m.GetList(),
		Next:    m.GetNext(),
	}
	if len(m.GetFields()) == 0 {
		return nil
	}
	v.Fields = make([]kv.Field, len(m.Fields))
	for i, f := range m.Fields {
		v.Fields[i].Name = string(f.GetName())
		if err := decodeValue(&v.Fields[i].Value, f.GetValue(), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// MaxValuesSize is an upper bound of the bytes of the values' messages, cheap to compute.
func MaxValuesSize(values []kv.Value) int {
	size := 0
	for i := range values {
		size += maxValueSize(&values[i])
	}
	return size
}

const (
	maxHead  = 6  // tag and length of a part of a message
	maxPlain = 24 // of a value: type, present, number and flag
)

func maxValueSize(v *kv.Value) int {
	size := 3*maxHead + maxPlain + len(v.Bytes) + len(v.Next)
	for _, e := range v.List {
		size += maxHead + len(e)
	}
	for i := range v.Fields {
		size += 2*maxHead + len(v.Fields[i].Name) + maxValueSize(&v.Fields[i].Value)
	}
	return size
}
