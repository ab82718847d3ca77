package convert

import (
	"math"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// EncodeRules makes the message of a bucket's rules. It refuses those that no cluster would decide.
func EncodeRules(r kv.BucketRules) (*pb.BucketRules, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	return encodeRules(&r), nil
}

func encodeRules(r *kv.BucketRules) *pb.BucketRules {
	m := &pb.BucketRules{
		Name: string(r.Name), Level: pb.Level(r.Level), BoundMicros: encodeBound(r.Bound), BoundFail: r.BoundFail,
		Durability: pb.Durability(r.Durability), Regions: encodeRegions(r.Regions),
		Generation: r.Generation, CreatedMicros: int64(r.Created),
	}
	for _, t := range r.Types {
		m.Types = append(m.Types, pb.Type(t))
	}
	for _, l := range r.Levels {
		m.Levels = append(m.Levels, pb.Level(l))
	}
	return m
}

// DecodeRules reads the rules of a bucket, and checks them.
func DecodeRules(m *pb.BucketRules) (kv.BucketRules, error) {
	r := kv.BucketRules{Name: kv.Bucket(m.GetName()), Generation: m.GetGeneration(), Created: clock.Wall(m.GetCreatedMicros())}
	for _, t := range m.GetTypes() {
		typ, err := decodeType(t)
		if err != nil {
			return r, err
		}
		r.Types = append(r.Types, typ)
	}
	for _, l := range m.GetLevels() {
		if l < 0 || l > math.MaxUint8 {
			return r, kv.Errorf(kv.KindLevelRefused, "bucket %.64q: unknown level %d", m.GetName(), l)
		}
		r.Levels = append(r.Levels, kv.Level(l))
	}
	defaults, err := DecodeOptions(&pb.Options{
		Level: m.GetLevel(), BoundMicros: m.GetBoundMicros(), BoundFail: m.GetBoundFail(), Durability: m.GetDurability(), Regions: m.GetRegions(),
	})
	if err != nil {
		return r, err
	}
	r.Consistency, r.Reach = defaults.Consistency(), defaults.Reach()
	return r, r.Check()
}

// EncodeDecided makes the message of decided rules.
func EncodeDecided(d kv.DecidedRules) *pb.DecidedRules {
	return &pb.DecidedRules{Rules: encodeRules(&d.BucketRules), Since: d.Since, Pending: d.Pending}
}

// DecodeDecided reads decided rules.
func DecodeDecided(m *pb.DecidedRules) (kv.DecidedRules, error) {
	r, err := DecodeRules(m.GetRules())
	return kv.DecidedRules{BucketRules: r, Since: m.GetSince(), Pending: m.GetPending()}, err
}

// EncodeDecidedList makes the messages of the rules of all buckets.
func EncodeDecidedList(list []kv.DecidedRules) *pb.BucketRulesResponse {
	m := &pb.BucketRulesResponse{Buckets: make([]*pb.DecidedRules, len(list))}
	for i, d := range list {
		m.Buckets[i] = EncodeDecided(d)
	}
	return m
}

// DecodeDecidedList reads the rules of all buckets.
func DecodeDecidedList(m *pb.BucketRulesResponse) ([]kv.DecidedRules, error) {
	list := make([]kv.DecidedRules, len(m.GetBuckets()))
	for i, d := range m.GetBuckets() {
		var err error
		if list[i], err = DecodeDecided(d); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// EncodeDrop makes the message of a request to drop a bucket.
func EncodeDrop(r kv.DropRequest) (*pb.DropBucketRequest, error) {
	if err := kv.CheckDrop(r.Bucket); err != nil {
		return nil, err
	}
	return &pb.DropBucketRequest{Bucket: string(r.Bucket), WithData: r.WithData, Token: r.Token.Encode()}, nil
}

// DecodeDrop reads a request to drop a bucket, and checks it.
func DecodeDrop(m *pb.DropBucketRequest) (kv.DropRequest, error) {
	r := kv.DropRequest{Bucket: kv.Bucket(m.GetBucket()), WithData: m.GetWithData()}
	var err error
	if r.Token, err = kv.DecodeToken(m.GetToken()); err != nil {
		return r, err
	}
	return r, kv.CheckDrop(r.Bucket)
}

// EncodeDropped makes the message of what became of a bucket.
func EncodeDropped(d kv.DroppedBucket) *pb.DropBucketResponse {
	return &pb.DropBucketResponse{Generation: d.Generation, Receipt: EncodeReceipt(d.Receipt)}
}

// DecodeDropped reads what became of a bucket.
func DecodeDropped(m *pb.DropBucketResponse) (kv.DroppedBucket, error) {
	r, err := DecodeReceipt(m.GetReceipt())
	return kv.DroppedBucket{Generation: m.GetGeneration(), Receipt: r}, err
}
