package convert

import (
	"math"
	"time"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// EncodeKeysRequest makes the message of a listing.
func EncodeKeysRequest(r kv.KeysRequest) (*pb.KeysRequest, error) {
	if err := kv.CheckBucket(r.Bucket); err != nil {
		return nil, err
	}
	limit, err := encodeLimit(r.Limit)
	if err != nil {
		return nil, err
	}
	return &pb.KeysRequest{
		Transaction: uint64(r.Txn),
		Options:     EncodeOptions(r.Options),
		Bucket:      string(r.Bucket),
		Prefix:      []byte(r.Prefix),
		After:       r.After,
		Limit:       limit,
	}, nil
}

// DecodeKeysRequest reads the message of a listing.
func DecodeKeysRequest(m *pb.KeysRequest) (kv.KeysRequest, error) {
	r := kv.KeysRequest{
		Txn:    kv.TxnID(m.GetTransaction()),
		Bucket: kv.Bucket(m.GetBucket()),
		Prefix: kv.Key(m.GetPrefix()),
		After:  m.GetAfter(),
	}
	if err := kv.CheckBucket(r.Bucket); err != nil {
		return r, err
	}
	var err error
	if r.Options, err = DecodeOptions(m.GetOptions()); err != nil {
		return r, err
	}
	r.Limit, err = decodeLimit(m.GetLimit())
	return r, err
}

// EncodeKeysPage makes the message of a listing's page.
func EncodeKeysPage(p kv.KeysPage) *pb.KeysResponse {
	m := &pb.KeysResponse{Next: p.Next, Receipt: EncodeReceipt(p.Receipt)}
	for _, o := range p.Objects {
		m.Objects = append(m.Objects, &pb.ListedObject{Key: []byte(o.Key), Type: pb.Type(o.Type)})
	}
	return m
}

// DecodeKeysPage reads a listing's page; the messages leave out the bucket, which the caller knows.
func DecodeKeysPage(m *pb.KeysResponse, bucket kv.Bucket) (kv.KeysPage, error) {
	p := kv.KeysPage{Next: m.GetNext()}
	for _, o := range m.GetObjects() {
		t, err := decodeType(o.GetType())
		if err != nil {
			return p, err
		}
		p.Objects = append(p.Objects, kv.Object{Bucket: bucket, Key: kv.Key(o.GetKey()), Type: t})
	}
	var err error
	p.Receipt, err = DecodeReceipt(m.GetReceipt())
	return p, err
}

// EncodeBucketsRequest makes the message of a listing of buckets.
func EncodeBucketsRequest(r kv.BucketsRequest) (*pb.BucketsRequest, error) {
	limit, err := encodeLimit(r.Limit)
	return &pb.BucketsRequest{After: r.After, Limit: limit}, err
}

// DecodeBucketsRequest reads the message of a listing of buckets. Without a limit it asks for as many as
// a page may hold.
func DecodeBucketsRequest(m *pb.BucketsRequest) (kv.BucketsRequest, error) {
	r := kv.BucketsRequest{After: m.GetAfter(), Limit: kv.MaxPage}
	if m.GetLimit() == 0 {
		return r, nil
	}
	var err error
	r.Limit, err = decodeLimit(m.GetLimit())
	return r, err
}

// EncodeBucketsPage makes the message of a page of buckets.
func EncodeBucketsPage(p kv.BucketsPage) *pb.BucketsResponse {
	m := &pb.BucketsResponse{Next: p.Next, Buckets: make([]string, len(p.Buckets))}
	for i, b := range p.Buckets {
		m.Buckets[i] = string(b)
	}
	return m
}

// DecodeBucketsPage reads a page of buckets.
func DecodeBucketsPage(m *pb.BucketsResponse) kv.BucketsPage {
	p := kv.BucketsPage{Next: m.GetNext(), Buckets: make([]kv.Bucket, len(m.GetBuckets()))}
	for i, b := range m.GetBuckets() {
		p.Buckets[i] = kv.Bucket(b)
	}
	return p
}

// EncodeOutcome makes the message of an outcome.
func EncodeOutcome(a kv.OutcomeAnswer) *pb.OutcomeResponse {
	return &pb.OutcomeResponse{
		Outcome: pb.WriteOutcome(a.Outcome),
		Commit:  encodeStamp(a.Commit),
		Token:   a.Token.Encode(),
	}
}

// DecodeOutcome reads an outcome. Only the two answers that say something are taken.
func DecodeOutcome(m *pb.OutcomeResponse) (kv.OutcomeAnswer, error) {
	a := kv.OutcomeAnswer{Outcome: kv.Outcome(m.GetOutcome())}
	if m.GetOutcome() < 0 || m.GetOutcome() > pb.WriteOutcome_WRITE_OUTCOME_APPLIED {
		return a, kv.Errorf(kv.KindCorrupt, "outcome %d answers nothing", m.GetOutcome())
	}
	var err error
	if a.Commit, err = decodeStamp(m.GetCommit()); err != nil {
		return a, err
	}
	a.Token, err = kv.DecodeToken(m.GetToken())
	return a, err
}

// EncodeDigest makes the message of a digest.
func EncodeDigest(d kv.Digest) *pb.DigestResponse {
	return &pb.DigestResponse{Sum: d.Sum[:], Objects: d.Objects, Receipt: EncodeReceipt(d.Receipt)}
}

// DecodeDigest reads a digest.
func DecodeDigest(m *pb.DigestResponse) (kv.Digest, error) {
	d := kv.Digest{Objects: m.GetObjects()}
	if len(m.GetSum()) != len(d.Sum) {
		return d, kv.Errorf(kv.KindCorrupt, "digest of %d bytes: want %d", len(m.GetSum()), len(d.Sum))
	}
	copy(d.Sum[:], m.GetSum())
	var err error
	d.Receipt, err = DecodeReceipt(m.GetReceipt())
	return d, err
}

// EncodeStatus makes the message of a node's status.
func EncodeStatus(s kv.Status) *pb.StatusResponse {
	m := &pb.StatusResponse{
		Cluster:          s.Cluster[:],
		Region:           s.Region,
		Lane:             encodeLane(s.Lane),
		Incarnation:      s.Incarnation,
		Version:          s.Version,
		State:            s.State,
		Exposed:          encodeVector(s.Exposed),
		Durable:          encodeVector(s.Durable),
		Stable:           encodeVector(s.Stable),
		Settled:          encodeVector(s.Settled),
		Horizon:          encodeVector(s.Horizon),
		OpenTransactions: int64(s.OpenTxns),
		Addresses: &pb.Addresses{
			Client: s.Addresses.Client, Peer: s.Addresses.Peer, Gossip: s.Addresses.Gossip, Admin: s.Addresses.Admin,
		},
		LogBytes: s.LogBytes,
		Pending:  int64(s.Pending),
		Leader:   s.Leader,
		Strong:   s.Strong,
	}
	for _, l := range s.Levels {
		m.Levels = append(m.Levels, &pb.LevelStatus{Level: pb.Level(l.Level), Ok: l.OK, Why: l.Why})
	}
	for _, r := range s.Regions {
		m.Regions = append(m.Regions, &pb.RegionStatus{
			Region:    uint32(r.Region),
			Name:      r.Name,
			Addresses: r.Addresses,
			Connected: r.Connected,
			Exposed:   uint64(r.Exposed),
			LagMicros: r.Lag.Microseconds(),
			Reported:  encodeVector(r.Reported),

			StalenessMicros:    micros(r.Staleness),
			StalenessP99Micros: micros(r.StalenessP99),
			StalenessKnown:     r.StalenessKnown,

			Phase: r.Phase, Awaits: r.Awaits,
		})
	}
	return m
}

// DecodeStatus reads a node's status.
func DecodeStatus(m *pb.StatusResponse) (kv.Status, error) {
	s := kv.Status{
		Region:      m.GetRegion(),
		Incarnation: m.GetIncarnation(),
		Version:     m.GetVersion(),
		State:       m.GetState(),
		OpenTxns:    int(m.GetOpenTransactions()),
		Addresses: kv.Addresses{
			Client: m.GetAddresses().GetClient(), Peer: m.GetAddresses().GetPeer(),
			Gossip: m.GetAddresses().GetGossip(), Admin: m.GetAddresses().GetAdmin(),
		},
		LogBytes: m.GetLogBytes(),
		Pending:  int(m.GetPending()),
		Leader:   m.GetLeader(),
		Strong:   m.GetStrong(),
	}
	if copy(s.Cluster[:], m.GetCluster()) != len(s.Cluster) {
		return s, kv.Errorf(kv.KindCorrupt, "cluster id of %d bytes: want %d", len(m.GetCluster()), len(s.Cluster))
	}
	var err error
	if s.Lane, err = decodeLane(m.GetLane()); err != nil {
		return s, err
	}
	if err := decodeCuts(&s, m); err != nil {
		return s, err
	}
	for _, l := range m.GetLevels() {
		if l.GetLevel() < 0 || l.GetLevel() > math.MaxUint8 {
			return s, kv.Errorf(kv.KindCorrupt, "status of unknown level %d", l.GetLevel())
		}
		s.Levels = append(s.Levels, kv.LevelStatus{Level: kv.Level(l.GetLevel()), OK: l.GetOk(), Why: l.GetWhy()})
	}
	for _, r := range m.GetRegions() {
		region, err := decodeRegion(r)
		if err != nil {
			return s, err
		}
		s.Regions = append(s.Regions, region)
	}
	return s, nil
}

func decodeCuts(s *kv.Status, m *pb.StatusResponse) error {
	cuts := []struct {
		to   *clock.Vector
		from *pb.Vector
	}{{&s.Exposed, m.GetExposed()}, {&s.Durable, m.GetDurable()}, {&s.Stable, m.GetStable()},
		{&s.Settled, m.GetSettled()}, {&s.Horizon, m.GetHorizon()}}
	for _, c := range cuts {
		v, err := decodeVector(c.from)
		if err != nil {
			return err
		}
		*c.to = v
	}
	return nil
}

func decodeRegion(m *pb.RegionStatus) (kv.RegionStatus, error) {
	r := kv.RegionStatus{
		Name:      m.GetName(),
		Addresses: m.GetAddresses(),
		Connected: m.GetConnected(),
		Exposed:   clock.Timestamp(m.GetExposed()),
		Lag:       time.Duration(m.GetLagMicros()) * time.Microsecond,

		StalenessKnown: m.GetStalenessKnown(),

		Phase: m.GetPhase(), Awaits: m.GetAwaits(),
	}
	var err error
	if r.Staleness, err = duration(m.GetStalenessMicros()); err != nil {
		return r, err
	}
	if r.StalenessP99, err = duration(m.GetStalenessP99Micros()); err != nil {
		return r, err
	}
	lane, err := decodeLane(&pb.Lane{Region: m.GetRegion()})
	if err != nil {
		return r, err
	}
	r.Region = lane.Region
	r.Reported, err = decodeVector(m.GetReported())
	return r, err
}
