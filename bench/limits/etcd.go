package limits

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Methods of etcd's API, version 3.
const (
	EtcdPutMethod    = "/etcdserverpb.KV/Put"
	EtcdStatusMethod = "/etcdserverpb.Maintenance/Status"
)

// Fields of its messages.
const (
	putKey, putValue           = 1, 2
	statusHeader, statusLeader = 1, 4
	headerMember               = 2
)

// EtcdClient is one connection to an etcd server, safe for concurrent use. It speaks etcd's gRPC API as
// etcd's own client does: what is sent and answered are the same bytes. That client would bring etcd's
// server packages along; the gateway for JSON would measure JSON.
type EtcdClient struct{ conn *grpc.ClientConn }

// DialEtcd prepares a connection in plaintext; the first call makes it.
func DialEtcd(address string) (*EtcdClient, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return nil, fmt.Errorf("limits: dial %s: %w", address, err)
	}
	return &EtcdClient{conn}, nil
}

// Put is a linearizable put: it is answered once a majority of the servers has it on its disk.
func (c *EtcdClient) Put(ctx context.Context, key string, value []byte) error {
	b := protowire.AppendTag(make([]byte, 0, len(key)+len(value)+16), putKey, protowire.BytesType)
	b = protowire.AppendString(b, key)
	b = protowire.AppendTag(b, putValue, protowire.BytesType)
	_, err := c.call(ctx, EtcdPutMethod, protowire.AppendBytes(b, value))
	return err
}

// Leads reports whether the server leads.
func (c *EtcdClient) Leads(ctx context.Context) (bool, error) {
	b, err := c.call(ctx, EtcdStatusMethod, nil)
	if err != nil {
		return false, err
	}
	header, _ := field(b, statusHeader)
	_, member := field(header, headerMember)
	_, leader := field(b, statusLeader)
	return leader != 0 && leader == member, nil
}

// Close closes the connection.
func (c *EtcdClient) Close() error { return c.conn.Close() }

// call sends a message and returns the answer, both encoded. Fields that a type does not know are sent and
// kept as they are: so does the type that knows none.
func (c *EtcdClient) call(ctx context.Context, method string, request []byte) ([]byte, error) {
	in, out := new(emptypb.Empty), new(emptypb.Empty)
	in.ProtoReflect().SetUnknown(request)
	if err := c.conn.Invoke(ctx, method, in, out); err != nil {
		return nil, err
	}
	return out.ProtoReflect().GetUnknown(), nil
}

// field finds a field of an encoded message: its bytes or its number, nothing where it has none.
func field(b []byte, want protowire.Number) (bytes []byte, number uint64) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, 0
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(num, typ, b)
		if size < 0 {
			return nil, 0
		}
		if num == want {
			bytes, _ = protowire.ConsumeBytes(b)
			number, _ = protowire.ConsumeVarint(b)
			return bytes, number
		}
		b = b[size:]
	}
	return nil, 0
}
