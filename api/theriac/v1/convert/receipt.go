package convert

import (
	"math"
	"time"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// EncodeReceipt makes the message of a receipt.
func EncodeReceipt(r kv.Receipt) *pb.Receipt {
	return &pb.Receipt{
		Level:       pb.Level(r.Level),
		BoundMicros: encodeBound(r.Bound),
		Region:      r.Region,
		Incarnation: r.Incarnation,
		Lane:        encodeLane(r.Lane),
		Snapshot:    encodeVector(r.Snapshot),
		Commit:      encodeStamp(r.Commit),
		Token:       r.Token.Encode(),
		Node:        r.Node,
		Durability:  pb.Durability(r.Durability),
		Regions:     encodeRegions(r.Regions),
		Staleness:   encodeStaleness(r.Staleness),
		Paid:        encodePhases(r.Paid),
	}
}

// DecodeReceipt reads a receipt; nil gives an empty one.
func DecodeReceipt(m *pb.Receipt) (kv.Receipt, error) {
	var r kv.Receipt
	if m == nil {
		return r, nil
	}
	if m.Level < 0 || m.Level > math.MaxUint8 {
		return r, kv.Errorf(kv.KindCorrupt, "receipt of unknown level %d", m.Level)
	}
	r.Level, r.Region, r.Incarnation = kv.Level(m.Level), m.Region, m.Incarnation
	var err error
	if r.Lane, err = decodeLane(m.Lane); err != nil {
		return r, err
	}
	if r.Snapshot, err = decodeVector(m.Snapshot); err != nil {
		return r, err
	}
	if r.Commit, err = decodeStamp(m.Commit); err != nil {
		return r, err
	}
	if r.Bound, err = duration(m.BoundMicros); err != nil {
		return r, err
	}
	if err = decodeAsked(&r, m); err != nil {
		return r, err
	}
	r.Token, err = kv.DecodeToken(m.Token)
	return r, err
}

// decodeAsked reads what is in a receipt only where it was asked for.
func decodeAsked(r *kv.Receipt, m *pb.Receipt) error {
	if m.Durability < 0 || m.Durability > math.MaxUint8 || m.Regions > math.MaxInt32 {
		return kv.Errorf(kv.KindCorrupt, "receipt of unknown durability %d in %d regions", m.Durability, m.Regions)
	}
	r.Node, r.Durability, r.Regions = m.Node, kv.Durability(m.Durability), int(m.Regions)
	var err error
	if r.Staleness, err = decodeStaleness(m.Staleness); err != nil {
		return err
	}
	r.Paid, err = decodePhases(m.Paid)
	return err
}

func encodeStaleness(list []kv.RegionStaleness) []*pb.RegionStaleness {
	if len(list) == 0 {
		return nil
	}
	out := make([]*pb.RegionStaleness, len(list))
	for i, s := range list {
		out[i] = &pb.RegionStaleness{Region: uint32(s.Region), Name: s.Name, AgeMicros: micros(s.Age), Known: s.Known}
	}
	return out
}

func decodeStaleness(ms []*pb.RegionStaleness) ([]kv.RegionStaleness, error) {
	if len(ms) == 0 {
		return nil, nil
	}
	out := make([]kv.RegionStaleness, len(ms))
	for i, m := range ms {
		age, err := duration(m.GetAgeMicros())
		if err != nil {
			return nil, err
		}
		if m.GetRegion() > math.MaxUint16 {
			return nil, kv.Errorf(kv.KindCorrupt, "staleness of region %d: the highest is %d", m.GetRegion(), math.MaxUint16)
		}
		out[i] = kv.RegionStaleness{Region: clock.Region(m.GetRegion()), Name: m.GetName(), Age: age, Known: m.GetKnown()}
	}
	return out, nil
}

func encodePhases(p kv.Phases) *pb.Phases {
	if p == (kv.Phases{}) {
		return nil
	}
	return &pb.Phases{
		QueueMicros: micros(p.Queue), TokenMicros: micros(p.Token), WorkMicros: micros(p.Work),
		SyncMicros: micros(p.Sync), RegionsMicros: micros(p.Regions), CertifyMicros: micros(p.Certify),
	}
}

func decodePhases(m *pb.Phases) (kv.Phases, error) {
	var p kv.Phases
	if m == nil {
		return p, nil
	}
	phases := []struct {
		to   *time.Duration
		from uint64
	}{{&p.Queue, m.QueueMicros}, {&p.Token, m.TokenMicros}, {&p.Work, m.WorkMicros},
		{&p.Sync, m.SyncMicros}, {&p.Regions, m.RegionsMicros}, {&p.Certify, m.CertifyMicros}}
	for _, phase := range phases {
		d, err := duration(phase.from)
		if err != nil {
			return p, err
		}
		*phase.to = d
	}
	return p, nil
}
