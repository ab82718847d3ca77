package bench

import (
	"context"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/theriac-db/theriac/bench/limits"
)

// serveFakeEtcd is what etcd would be that does nothing, until it is told to end. Of three the one named n1
// leads, once it was asked twice.
func serveFakeEtcd(args []string) {
	value := func(flag string) string { return args[slices.Index(args, flag)+1] }
	l, err := net.Listen("tcp", strings.TrimPrefix(value("--listen-client-urls"), "http://"))
	if err != nil {
		os.Exit(1)
	}
	asked := 0
	method := func(name string, answer func() []byte) grpc.MethodDesc {
		return grpc.MethodDesc{MethodName: name, Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			out := new(emptypb.Empty)
			out.ProtoReflect().SetUnknown(answer())
			return out, decode(new(emptypb.Empty))
		}}
	}
	status := method("Status", func() []byte {
		if asked++; asked < 2 {
			return nil
		}
		member := map[string]uint64{"n0": 10, "n1": 11, "n2": 12}[value("--name")]
		header := protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), member)
		b := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), header)
		return protowire.AppendVarint(protowire.AppendTag(b, 4, protowire.VarintType), 11)
	})
	put := method("Put", func() []byte { return nil })
	s := grpc.NewServer()
	for service, m := range map[string]grpc.MethodDesc{"etcdserverpb.Maintenance": status, "etcdserverpb.KV": put} {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: service, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{m}}, nil)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		<-ended
		os.Exit(2)
	}()
	_ = s.Serve(l)
}

func TestEtcdIsTheOneThatLeads(t *testing.T) {
	e, _ := tiny(t)
	c, err := startEtcds(t.Context(), e)
	require.NoError(t, err)
	leads, err := c.leader.Leads(t.Context())
	require.NoError(t, err)
	require.True(t, leads)
	require.NoError(t, c.leader.Put(t.Context(), "k", []byte("v")))
	require.NoError(t, c.quit())
}

func TestWithoutEtcdTheFigureSaysWhatIsMissing(t *testing.T) {
	e, _ := tiny(t)
	t.Setenv("PATH", "")
	e.Etcd = nil
	_, err := strongRates(t.Context(), e)
	require.ErrorContains(t, err, "install Debian's package etcd-server")
}

func TestEtcdThatNeverLeadsIsAnError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	free, err := freeAddress("127.0.0.1")
	require.NoError(t, err)
	_, err = etcdLeader(ctx, []string{free})
	require.ErrorContains(t, err, "no server of etcd leads")
	c, err := limits.DialEtcd(free)
	require.NoError(t, err)
	defer c.Close()
	require.Error(t, c.Put(ctx, "k", nil))
}
