package replication

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// shards is the number of shards (design: xxh64 of bucket and key, mod 64).
const shards = 64

// Identity is who a node is. It is on the node's disk.
type Identity struct {
	Cluster kv.ClusterID
	Region  clock.Region
	Name    string
	// Recovering says that the region existed before this store: causal.Start.Recovering must be
	// set, and the node writes nothing until WaitWritable returns.
	Recovering bool
	// Alone says that no other region belongs to the cluster.
	Alone bool

	recovered clock.Timestamp // when the last recovery ended; 0: there was none
	loaded    bool            // the data is here
	// behind is what a cut must include that takes the data's place; empty: none is to. Loaded and
	// behind: nothing has been given up yet.
	behind clock.Vector
}

// JoinConfig says who asks to be somebody. All fields but AnyName, Ask and Logf are required.
type JoinConfig struct {
	Name        string // of the region
	AnyName     bool   // Name is for a region without data only: one with data keeps its own
	Incarnation uint64 // of the store
	Addresses   kv.Addresses
	// Ask lists addresses of nodes of the cluster to join: their peer or their client ports. Empty:
	// a node without identity founds a cluster.
	Ask []string
	// First is the region to ask first for a cut; 0: any.
	First     clock.Region
	Store     Loader
	Transport Transport
	Time      Time
	Random    func() uint64
	Logf      func(format string, args ...any)
}

// Identify returns who this node is: what its disk says, or what the cluster that it asks to join
// says, for as long as that takes. A node that has nobody to ask founds a cluster; one that was
// told to join and reaches nobody keeps asking. When it returns, the store holds the data of a cut,
// and everything later comes through the streams. It runs before an Exposure and a Replicator exist.
//
// It fails when ctx ends, when the disk does, and with kv.ErrInvalid when the cluster refuses the
// node for good: another cluster, also than the one of the data that it has, an unknown protocol, a name that is taken. It fails with kv.ErrLost
// when the folder's lane was found to be forked.
func Identify(ctx context.Context, c JoinConfig) (Identity, error) {
	if c.Logf == nil {
		c.Logf = func(string, ...any) {}
	}
	if err := errors.Join(checkForked(c.Store), checkUseless(c.Store)); err != nil {
		return Identity{}, err
	}
	id, err := loadIdentity(c.Store)
	switch {
	case err != nil:
		return Identity{}, err
	case id.Region != 0 && id.Name != c.Name && !c.AnyName:
		return Identity{}, kv.Errorf(kv.KindInvalid, "the data folder belongs to region %q, not %q: correct the name or the folder", id.Name, c.Name)
	case id.Region == 0 && len(c.Ask) == 0:
		return found(ctx, c)
	case id.Region == 0:
		if id, err = c.askAround(ctx); err != nil {
			return Identity{}, err
		}
	}
	c.Name = id.Name
	switch {
	case !id.loaded:
		err = c.bootstrap(ctx, &id)
	case len(id.behind) > 0:
		err = c.renew(ctx, &id)
	}
	if err == nil {
		id.Alone, err = alone(c.Store, id.Region)
	}
	return id, err
}

// alone tells whether a store knows of one region only.
func alone(store Meta, self clock.Region) (bool, error) {
	g, err := loadRegistry(store)
	if err != nil {
		return false, err
	}
	_, list := g.snapshot()
	others := slices.ContainsFunc(list, func(m Member) bool { return m.Region != self && !m.Removed })
	return !others, nil
}

func loadIdentity(store Meta) (Identity, error) {
	b, err := store.Meta(identityKey)
	if err != nil {
		return Identity{}, fmt.Errorf("reading the node's identity: %w", err)
	}
	p := new(peerv1.Identity)
	if err := proto.Unmarshal(b, p); err != nil || len(b) > 0 && len(p.GetCluster()) != len(kv.ClusterID{}) {
		return Identity{}, kv.Errorf(kv.KindCorrupt, "the node's identity on disk is malformed")
	}
	id := Identity{Region: clock.Region(p.GetRegion()), Name: p.GetName(), Recovering: p.GetRecovering(), loaded: p.GetLoaded()}
	id.recovered = clock.Timestamp(p.GetRecovered())
	copy(id.Cluster[:], p.GetCluster())
	if len(p.GetBehind()) > 0 {
		var rest []byte
		if id.behind, rest, err = clock.DecodeVector(p.GetBehind(), 0); err != nil || len(rest) > 0 {
			return Identity{}, kv.Errorf(kv.KindCorrupt, "the node's identity on disk is malformed")
		}
	}
	return id, nil
}

func (id Identity) save(ctx context.Context, store Meta) error {
	p := &peerv1.Identity{
		Cluster: id.Cluster[:], Region: uint32(id.Region), Name: id.Name, Recovering: id.Recovering, Loaded: id.loaded,
		Recovered: uint64(id.recovered),
	}
	if len(id.behind) > 0 {
		p.Behind = id.behind.Append(nil, 0)
	}
	b, err := proto.Marshal(p)
	if err == nil {
		err = store.SetMeta(ctx, identityKey, b)
	}
	if err != nil {
		return fmt.Errorf("writing the node's identity: %w", err)
	}
	return nil
}

// foundingVersion is the version of what is decided by which there is one region.
const foundingVersion = 1

// found makes a new cluster of this node's region alone.
func found(ctx context.Context, c JoinConfig) (Identity, error) {
	id := Identity{Region: first, Name: c.Name, Alone: true, loaded: true}
	binary.BigEndian.PutUint64(id.Cluster[:8], c.Random())
	binary.BigEndian.PutUint64(id.Cluster[8:], c.Random())
	g := &registry{store: c.Store}
	self := Member{Region: first, Name: c.Name, Serving: true, Addresses: c.Addresses, Incarnation: c.Incarnation}
	if err := g.write(ctx, foundingVersion, []Member{self}); err != nil {
		return Identity{}, err
	}
	return id, id.save(ctx, c.Store)
}

// askAround asks for a number until somebody gives one or refuses.
func (c *JoinConfig) askAround(ctx context.Context) (Identity, error) {
	b, told := backoff{random: c.Random}, faults{time: c.Time}
	for i := 0; ; i++ {
		address := c.Ask[i%len(c.Ask)]
		answer, err := c.askFor(ctx, address)
		for hops := 0; err == nil && pointsOn(answer) && hops < maxHops; hops++ {
			address = answer.GetAsk()
			answer, err = c.askFor(ctx, address)
		}
		switch {
		case errors.Is(err, kv.ErrInvalid):
			return Identity{}, fmt.Errorf("joining through %s: %w", address, err)
		case err == nil && answer.GetResult() == peerv1.JoinAnswer_RESULT_GRANTED:
			return c.become(ctx, answer)
		case err == nil:
			b.reset()
			err = errors.New(shown(answer.GetMessage()))
		}
		if told.news(err) {
			c.Logf("joining through %s: %v; asking again until it works", address, err)
		}
		if !sleep(ctx, c.Time, b.next()) {
			return Identity{}, fmt.Errorf("joining: %w (last: %v)", context.Cause(ctx), err)
		}
	}
}

// maxHops is how often one question is sent on: from a client port to that node's peer port, and from
// there to another's.
const maxHops = 2

func pointsOn(a *peerv1.JoinAnswer) bool {
	return a.GetResult() == peerv1.JoinAnswer_RESULT_ASK && a.GetAsk() != ""
}

func (c *JoinConfig) hello(purpose peerv1.Purpose) *peerv1.Hello {
	return &peerv1.Hello{
		ProtocolMin: ProtocolMin, ProtocolMax: ProtocolMax, Purpose: purpose,
		Name: c.Name, Incarnation: c.Incarnation, Addresses: addressesTo(c.Addresses),
	}
}

// dial connects within HandshakeTimeout; stop ends that limit, which otherwise closes conn.
func (c *JoinConfig) dial(ctx context.Context, address string) (conn Conn, stop func(), err error) {
	limit, cancel := context.WithCancel(ctx)
	go func() {
		if sleep(limit, c.Time, HandshakeTimeout) {
			cancel()
		}
	}()
	conn, err = c.Transport.Dial(limit, address)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	release := context.AfterFunc(limit, conn.Close)
	return conn, func() { release(); cancel() }, nil
}

func (c *JoinConfig) askFor(ctx context.Context, address string) (*peerv1.JoinAnswer, error) {
	return c.ask(ctx, address, c.hello(peerv1.Purpose_PURPOSE_JOIN))
}

func (c *JoinConfig) ask(ctx context.Context, address string, h *peerv1.Hello) (*peerv1.JoinAnswer, error) {
	conn, stop, err := c.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer stop()
	if err := conn.Send(helloMessage(h)); err != nil {
		return nil, err
	}
	m, err := conn.Recv()
	switch {
	case err != nil:
		return nil, err
	case m.GetRefused() != nil:
		return nil, refusal(m.GetRefused())
	case m.GetJoinAnswer() == nil:
		return nil, kv.Errorf(kv.KindCorrupt, "%s answered %T to a question for a number", address, m.GetBody())
	}
	return m.GetJoinAnswer(), checkAddresses(kv.Addresses{Peer: m.GetJoinAnswer().GetAsk()})
}

// become writes down what the cluster says that this node is.
func (c *JoinConfig) become(ctx context.Context, a *peerv1.JoinAnswer) (Identity, error) {
	list, err := membersFrom(a.GetMembers())
	if err != nil {
		return Identity{}, err
	}
	id := Identity{Region: clock.Region(a.GetRegion()), Name: c.Name, Recovering: a.GetExisted()}
	copy(id.Cluster[:], a.GetCluster())
	named := slices.ContainsFunc(list, func(m Member) bool { return m.Region == id.Region && m.Name == c.Name })
	if !named || len(a.GetCluster()) != len(id.Cluster) || id.Cluster.IsZero() {
		return Identity{}, kv.Errorf(kv.KindInvalid, "a grant of region number %d that the list of regions does not bear out", a.GetRegion())
	}
	g := &registry{store: c.Store}
	if err := g.write(ctx, a.GetMembers().GetVersion(), list); err != nil {
		return Identity{}, err
	}
	return id, id.save(ctx, c.Store)
}

// bootstrap loads the data of a cut from whichever region serves one.
func (c *JoinConfig) bootstrap(ctx context.Context, id *Identity) error {
	g, err := loadRegistry(c.Store)
	if err != nil {
		return err
	}
	_, all := g.snapshot()
	list := slices.DeleteFunc(slices.Clone(all), func(m Member) bool { return m.Region == id.Region || m.Fenced })
	if len(list) == 0 {
		return kv.Errorf(kv.KindCorrupt, "no other region to take data from")
	}
	b, told := backoff{random: c.Random}, faults{time: c.Time}
	for i := 0; ; i++ {
		m := list[i%len(list)]
		err := c.loadFrom(ctx, m, id)
		if err == nil {
			return nil
		}
		if hopeless(err) {
			return err
		}
		if told.news(err) {
			c.Logf("taking data from region %d (%s) at %s: %v; trying on", m.Region, m.Name, m.Addresses.Peer, err)
		}
		if !sleep(ctx, c.Time, b.next()) {
			return fmt.Errorf("bootstrap: %w (last: %v)", context.Cause(ctx), err)
		}
	}
}

// diskError is a failure of this node's own store, which no other region mends.
type diskError struct{ error }

func (d diskError) Unwrap() error { return d.error }

// hopeless tells whether asking another region is of no use.
func hopeless(err error) bool {
	var disk diskError
	var abandoned abandonedError
	return errors.As(err, &disk) || errors.As(err, &abandoned)
}

// loadFrom loads a region's cut and notes that the data is here.
func (c *JoinConfig) loadFrom(ctx context.Context, m Member, id *Identity) error {
	conn, stop, err := c.dial(ctx, m.Addresses.Peer)
	if err != nil {
		return err
	}
	defer conn.Close()
	h := c.hello(peerv1.Purpose_PURPOSE_BOOTSTRAP)
	h.Cluster, h.Region = bytes.Clone(id.Cluster[:]), uint32(id.Region)
	if err := conn.Send(helloMessage(h)); err != nil {
		stop()
		return err
	}
	first, err := conn.Recv()
	stop()
	if err != nil {
		return err
	}
	g := guardConn(ctx, c.Time, conn)
	defer g.stop()
	if first.GetRefused() != nil {
		return refusal(first.GetRefused())
	}
	if first.GetCut() == nil {
		return kv.Errorf(kv.KindCorrupt, "%T instead of a cut", first.GetBody())
	}
	if err := c.load(ctx, conn, g, first.GetCut(), id); err != nil {
		return err
	}
	id.loaded, id.behind = true, nil
	if err := id.save(ctx, c.Store); err != nil {
		return diskError{err}
	}
	// The answer only lets the other end stop waiting: it holds the cut until this region reports.
	_ = conn.Send(&peerv1.Message{Body: &peerv1.Message_CutTaken{CutTaken: &peerv1.CutTaken{}}})
	return nil
}

func (c *JoinConfig) load(ctx context.Context, conn Conn, g *guard, cut *peerv1.Cut, id *Identity) error {
	applied := map[clock.Lane]clock.Timestamp{}
	for _, p := range cut.GetLanes() {
		lane, err := laneFrom(p.GetRegion(), p.GetSlot())
		if err != nil {
			return err
		}
		applied[lane] = clock.Timestamp(p.GetApplied())
	}
	if err := c.giveUp(ctx, id, applied); err != nil {
		return err
	}
	keep := id.keeps()
	if err := c.Store.LoadBegin(ctx, keep...); err != nil {
		return diskError{err}
	}
	for {
		m, err := conn.Recv()
		g.moved.Store(true)
		switch r := m.GetRange(); {
		case err != nil:
			return err
		case m.GetRefused() != nil:
			return refusal(m.GetRefused())
		case r == nil || r.GetShard() >= shards:
			return kv.Errorf(kv.KindCorrupt, "%T instead of a range of a shard", m.GetBody())
		case r.GetLast():
			if err := c.Store.LoadEnd(ctx, cut.GetState(), applied, keep...); err != nil {
				return diskError{err}
			}
			return nil
		default:
			if err := c.Store.LoadRange(ctx, int(r.GetShard()), r.GetData()); err != nil {
				return diskError{err}
			}
		}
	}
}
