package strong

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

func TestStoreOfAnotherVoterIsRefused(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		m := c.add(1, true)
		c.mustPropose(m)
		c.down(m)
		m.id = 2
		require.ErrorIs(t, c.start(m, true), kv.ErrInvalid)
		store, err := storage.Open(storage.Config{FS: m.fs, Dir: "store"})
		require.NoError(t, err)
		durable := make(chan error, 1)
		require.NoError(t, store.Submit(t.Context(), job{func(b *storage.Batch) error { b.Sync(); b.ResetRaft(); return nil }, durable}))
		require.NoError(t, <-durable)
		require.NoError(t, store.Close())
		c.up(m, false)
		c.pass(10 * time.Second)
		require.Zero(t, m.group.Status().Leader, "it waits to be found")
		require.Empty(t, m.list.all())
	})
}

// job is a storage.Job made of a function.
type job struct {
	build   func(*storage.Batch) error
	durable chan error
}

func (j job) Build(b *storage.Batch) error { return j.build(b) }
func (j job) Applied()                     {}
func (j job) Durable(err error)            { j.durable <- err }

func TestConfigsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, id := range []uint64{0, raft.LocalAppendThread, raft.LocalApplyThread} {
		_, err := New(t.Context(), Config{ID: id})
		require.ErrorIs(t, err, kv.ErrInvalid)
	}
	_, err := New(t.Context(), Config{ID: 1})
	require.ErrorIs(t, err, kv.ErrInvalid)
	c, err := Config{
		ID: 1, Store: &storage.Store{}, Machine: newList(1), Pack: packIDs, Check: checkIDs, Time: systemTime{}, Send: func(uint64, [][]byte) {},
	}.withDefaults()
	require.NoError(t, err)
	require.NotEqual(t, c.Random(), c.Random())
	require.Empty(t, c.Wanted(View{}))
	c.Logf("dropped")
	c.Fatal(nil)
	require.Equal(t, DefaultSnapshotBytes, c.SnapshotBytes)
}

func TestProposalsAreBounded(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		c.founded(1)
		m := c.add(5, false) // nobody finds it, so nothing is decided
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var calls sync.WaitGroup
		for i := range uint64(MaxProposals) {
			calls.Go(func() {
				if err := m.group.Propose(ctx, Proposal{Number: i, Size: 8, Body: encodeID(i)}); !errors.Is(err, kv.ErrUnavailable) {
					panic(err)
				}
			})
		}
		synctest.Wait()
		require.Equal(t, MaxProposals, m.group.Status().Proposals)
		err := m.group.Propose(ctx, Proposal{Number: MaxProposals})
		require.ErrorIs(t, err, kv.ErrOverloaded)
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
		calls.Wait()
		require.Zero(t, m.group.Status().Proposals)

		require.ErrorIs(t, m.group.Propose(ctx, Proposal{Size: MaxProposal + 1}), kv.ErrTooLarge)
		for i := range uint64(MaxProposalBytes/MaxProposal) + 1 {
			calls.Go(func() { _ = m.group.Propose(t.Context(), Proposal{Number: i, Size: MaxProposal}) })
		}
		synctest.Wait()
		require.Equal(t, MaxProposalBytes/MaxProposal, m.group.Status().Proposals)
		calls.Go(func() { _ = m.group.Propose(t.Context(), Proposal{Number: 1 << 40}) })
		synctest.Wait()
		require.ErrorIs(t, m.group.Propose(t.Context(), Proposal{Number: 1 << 40}), kv.ErrInvalid, "a number twice")
		m.group.Stop()
		calls.Wait()
		require.ErrorIs(t, m.group.Propose(t.Context(), Proposal{}), kv.ErrUnavailable)
	})
}

func TestReadersAreBoundedAndWait(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		m := c.add(1, true)
		c.mustPropose(m)
		g := m.group
		require.NoError(t, g.WaitApplied(t.Context(), g.Applied()))
		waited := make(chan error, 1)
		go func() { waited <- g.WaitApplied(t.Context(), g.Applied()+1) }()
		synctest.Wait()
		require.Equal(t, 1, g.Status().Readers)
		c.mustPropose(m)
		require.NoError(t, <-waited)
		require.Equal(t, g.Last(), g.Applied())

		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		late := g.WaitApplied(short, 1000)
		require.ErrorIs(t, late, kv.ErrDeadline)
		require.ErrorContains(t, late, "try another region", "it says what would work")
		g.reads.mu.Lock()
		g.reads.count = MaxReaders
		g.reads.mu.Unlock()
		_, err := g.ReadIndex(t.Context())
		require.ErrorIs(t, err, kv.ErrOverloaded)
		g.reads.mu.Lock()
		g.reads.count = 0
		g.reads.mu.Unlock()
		go func() { waited <- g.WaitApplied(t.Context(), 1000) }()
		synctest.Wait()
		g.Stop()
		require.ErrorIs(t, <-waited, kv.ErrUnavailable)
		_, err = g.ReadIndex(t.Context())
		require.ErrorIs(t, err, kv.ErrUnavailable)
		<-g.Done()
	})
}

// TestReadersShareRequests: many readers make few rounds, also where a round takes long.
func TestReadersShareRequests(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		members := c.founded(3)
		c.mustPropose(members[0])
		follower := members[c.leader().id%3]
		c.far(40 * time.Millisecond)
		var before = c.sentBy(follower.id)
		var readers sync.WaitGroup
		for i := range 1000 {
			readers.Go(func() {
				c.pass(time.Duration(i) * 100 * time.Microsecond)
				began := time.Now()
				c.mustRead(follower)
				if took := time.Since(began); took > 180*time.Millisecond {
					panic(fmt.Sprintf("two round trips take 160 ms, not %s", took))
				}
			})
		}
		readers.Wait()
		require.Less(t, c.sentBy(follower.id)-before, 300, "messages for 1000 readers within 100 ms")
	})
}

func TestUnpackableProposalFailsAlone(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		m := c.add(1, true)
		c.mustPropose(m)
		var calls sync.WaitGroup
		for i := range uint64(20) {
			calls.Go(func() {
				p := Proposal{Number: m.process<<32 | 100 + i, Body: encodeID(m.process<<32 | 100 + i)}
				if i%3 == 0 {
					p.Body = "none"
				}
				if err := m.group.Propose(t.Context(), p); (i%3 == 0) != errors.Is(err, kv.ErrInvalid) {
					panic(fmt.Sprintf("%d: %v", i, err))
				}
			})
		}
		calls.Wait()
		require.Len(t, m.list.all(), 1+13)
	})
}

// TestGroupEndsWhereItCanNotGoOn: its callers are told, and so is Fatal.
func TestGroupEndsWhereItCanNotGoOn(t *testing.T) {
	for name, ruin := range map[string]func(t *testing.T, c *cluster, m *member){
		"entry that the machine refuses": func(t *testing.T, c *cluster, m *member) {
			_ = m.group.Propose(t.Context(), Proposal{Number: 1, Body: []byte("odd")})
		},
		"the store is closed": func(t *testing.T, c *cluster, m *member) { require.NoError(t, m.store.Close()) },
		"raft's invariants": func(t *testing.T, c *cluster, m *member) {
			m.forge(t, &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), Commit: new(uint64(1 << 40))})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, c *cluster) {
				m := c.add(1, true)
				c.mustPropose(m)
				ruin(t, c, m)
				_, err := m.propose(t.Context())
				require.ErrorIs(t, err, kv.ErrUnavailable)
				require.Error(t, <-m.fatal)
				<-m.group.Done()
				_, err = m.group.ReadIndex(t.Context())
				require.ErrorIs(t, err, kv.ErrUnavailable)
			})
		})
	}
}

// forge gives a member a message of another leader of a later term.
func (m *member) forge(t *testing.T, message *raftpb.Message) {
	message.To, message.From, message.Term = new(m.id), new(uint64(77)), new(uint64(99))
	require.NoError(t, m.group.Step(77, [][]byte{encode(t, message)}))
}

func encode(t *testing.T, m *raftpb.Message) []byte {
	b, err := proto.MarshalOptions{}.MarshalAppend([]byte{kindRaft}, m)
	require.NoError(t, err)
	return b
}

func TestMessagesThatNoMemberSendsAreRefused(t *testing.T) {
	entry := func(index, term uint64, typ raftpb.EntryType, data string) *raftpb.Entry {
		return &raftpb.Entry{Index: new(index), Term: new(term), Type: typ.Enum(), Data: []byte(data)}
	}
	bubble(t, 1, func(t *testing.T, c *cluster) {
		m := c.add(1, true)
		for name, msg := range map[string]*raftpb.Message{
			"for another":       {Type: raftpb.MsgApp.Enum(), To: new(VoterID(9, 1))},
			"from another":      {Type: raftpb.MsgApp.Enum(), From: new(uint64(9))},
			"from the disk":     {Type: raftpb.MsgReadIndex.Enum(), From: new(raft.LocalAppendThread), Entries: []*raftpb.Entry{entry(0, 0, 0, "12345678")}},
			"no term":           {Type: raftpb.MsgApp.Enum(), Term: new(uint64(0))},
			"local":             {Type: raftpb.MsgHup.Enum()},
			"of the disk":       {Type: raftpb.MsgStorageAppendResp.Enum()},
			"no proposal":       {Type: raftpb.MsgProp.Enum()},
			"change of members": {Type: raftpb.MsgProp.Enum(), Entries: []*raftpb.Entry{entry(0, 0, raftpb.EntryConfChangeV2, "x")}},
			"malformed entry":   {Type: raftpb.MsgProp.Enum(), Entries: []*raftpb.Entry{entry(0, 0, 0, "odd")}},
			"no request":        {Type: raftpb.MsgReadIndex.Enum()},
			"malformed request": {Type: raftpb.MsgReadIndexResp.Enum(), Entries: []*raftpb.Entry{entry(0, 0, 0, "x")}},
			"malformed context": {Type: raftpb.MsgHeartbeatResp.Enum(), Context: []byte("x")},
			"gap":               {Type: raftpb.MsgApp.Enum(), Index: new(uint64(4)), LogTerm: new(uint64(1)), Entries: []*raftpb.Entry{entry(6, 1, 0, "")}},
			"later term":        {Type: raftpb.MsgApp.Enum(), Index: new(uint64(4)), LogTerm: new(uint64(1)), Entries: []*raftpb.Entry{entry(5, 3, 0, "")}},
			"empty snapshot":    {Type: raftpb.MsgSnap.Enum()},
		} {
			if msg.To == nil {
				msg.To = new(uint64(1))
			}
			if msg.From == nil {
				msg.From = new(uint64(7))
			}
			if msg.Term == nil {
				msg.Term = new(uint64(2))
			}
			require.ErrorIs(t, m.group.Step(7, [][]byte{encode(t, msg)}), kv.ErrCorrupt, name)
		}
		piece := part{transfer: 1, number: 0, of: 2, bytes: []byte("x")}
		for name, b := range map[string][]byte{
			"empty": nil, "garbage": {kindRaft, 0xff, 0xff}, "unknown kind": {9, 1, 2, 3},
			"short part":    piece.append(nil)[:partHead],
			"too many":      (&part{of: maxParts + 1, bytes: []byte("x")}).append(nil),
			"beyond itself": (&part{number: 2, of: 2, bytes: []byte("x")}).append(nil),
			"long answer":   append((&part{}).append(nil), 1),
		} {
			require.ErrorIs(t, m.group.Step(7, [][]byte{b}), kv.ErrCorrupt, name)
		}
		for name, s := range map[string]*Standing{"cut off": {Voters: []uint64{1}}, "longer": {}} {
			b := s.append(nil)
			if b = append(b, 0); s.Voters != nil {
				b = b[:len(b)-2]
			}
			require.ErrorIs(t, m.group.Step(7, [][]byte{b}), kv.ErrCorrupt, name)
		}
		former := &raftpb.Message{Type: raftpb.MsgApp.Enum(), To: new(uint64(9)), From: new(uint64(7)), Term: new(uint64(99))}
		require.NoError(t, m.group.Step(7, [][]byte{encode(t, former)}), "what is for the store before this one is passed over")
		require.Less(t, m.group.Status().Term, uint64(99))
		c.mustPropose(m) // none of it did harm
	})
}

// TestPartsOutOfOrderAreHarmless: only the next piece of the transfer that began is taken.
func TestPartsOutOfOrderAreHarmless(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		m := c.add(1, true)
		c.mustPropose(m)
		for _, p := range []part{
			{transfer: 1, number: 1, of: 2, bytes: []byte("b")}, // of a transfer that did not begin
			{transfer: 2, number: 0, of: 2, bytes: []byte("a")},
			{transfer: 2, number: 0, of: 2, bytes: []byte("a")},
			{transfer: 2, number: 1, of: 2, bytes: []byte("no message")},
			{transfer: 2, number: 1, of: 2, bytes: []byte("no message")},
			{transfer: 3, number: 7}, // an answer to nothing
		} {
			require.NoError(t, m.group.Step(7, [][]byte{p.append(nil)}))
		}
		c.mustPropose(m)
	})
}

func TestInboxDropsWhatItHasNoRoomFor(t *testing.T) {
	i := inbox{wake: make(chan struct{}, 1)}
	require.True(t, i.putMessages(nil, MaxInboxBytes+1), "one message may be large")
	require.False(t, i.putMessages(nil, 1))
	i.take()
	require.True(t, i.putMessages(nil, 1))
}

func TestChangesThatMakeNoSenseAreRefused(t *testing.T) {
	v := View{Voters: []uint64{1, 2}}
	for _, changes := range [][]Change{
		{{Remove, 1}, {Remove, 2}}, {{Remove, 1}, {AddLearner, 2}}, {{AddVoter, 0}}, {{AddVoter, raft.LocalApplyThread}},
		{{AddVoter, 3}, {Remove, 3}}, {{ChangeOp(9), 3}},
	} {
		require.NotEmpty(t, refuseChanges(v, changes), "%v", changes)
	}
	require.Empty(t, refuseChanges(v, []Change{{Remove, 1}, {AddVoter, 3}, {AddLearner, 2}}))
	bubble(t, 1, func(t *testing.T, c *cluster) {
		c.override = func(View) []Change { return []Change{{Remove, 1}} }
		m := c.add(1, true)
		c.mustPropose(m)
		c.pass(time.Second)
		require.Equal(t, []uint64{1}, m.group.Status().Voters)
	})
}

func TestDamagedSnapshotIsRefusedAtTheStart(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		m := c.add(1, true)
		c.down(m)
		store, err := storage.Open(storage.Config{FS: m.fs, Dir: "store"})
		require.NoError(t, err)
		broken := newList(1)
		_, err = New(t.Context(), Config{
			ID: 1, Store: store, Machine: refusing{broken}, Pack: packIDs, Check: checkIDs, Time: systemTime{}, Send: func(uint64, [][]byte) {},
		})
		require.ErrorIs(t, err, kv.ErrCorrupt)
		require.NoError(t, store.Close())
		_, err = New(t.Context(), Config{
			ID: 2, Store: store, Machine: broken, Pack: packIDs, Check: checkIDs, Time: systemTime{}, Send: func(uint64, [][]byte) {},
		})
		require.ErrorIs(t, err, kv.ErrUnavailable, "the store is closed")
	})
}

// refusing is a Machine that can't read its snapshots.
type refusing struct{ *list }

func (refusing) Restore(uint64, []byte) error { return kv.Errorf(kv.KindCorrupt, "no list") }

// TestDiskThatFailsEndsTheGroup: what could not be made durable is not acknowledged. (In no bubble: a store
// that has failed leaves Pebble where it is.)
func TestDiskThatFailsEndsTheGroup(t *testing.T) {
	fs := vfs.NewCrashableMem()
	disk := &failingFS{FS: fs}
	store, err := storage.Open(storage.Config{FS: disk, Dir: "store"})
	require.NoError(t, err)
	l := newList(1)
	fatal := make(chan error, 1)
	g, err := New(t.Context(), Config{
		ID: 1, Found: true, Store: store, Machine: l, Pack: packIDs, Check: checkIDs, Time: systemTime{}, Send: func(uint64, [][]byte) {},
		Fatal: func(err error) { fatal <- err },
	})
	require.NoError(t, err)
	require.NoError(t, g.Propose(t.Context(), Proposal{Number: 1 << 32, Body: encodeID(1 << 32)}))
	disk.failing.Store(true)
	err = g.Propose(t.Context(), Proposal{Number: 1<<32 + 1, Body: encodeID(1<<32 + 1)})
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
	require.ErrorIs(t, <-fatal, kv.ErrReadOnly)
	g.Stop()
	require.Error(t, store.Close())
}
