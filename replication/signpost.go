package replication

import (
	"context"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/kv"
)

// Signpost returns what serves a door that strangers may use: the client port, which --join names and
// which asks nobody for a certificate. Who asks for a number is told whose node this is and where its
// peer port is. All else is for that port, which regions enter as such.
func Signpost(id Identity, peer string, t Time) func(Conn) {
	return func(conn Conn) {
		defer closeAfter(context.Background(), t, conn)()
		h, err := receiveHello(conn)
		if h == nil {
			return
		}
		if err == nil && h.GetPurpose() != peerv1.Purpose_PURPOSE_JOIN {
			err = kv.Errorf(kv.KindDenied, "this is a port for clients, which serves no region: the peer port is %s", peer)
		}
		if err != nil {
			refuse(conn, err)
			return
		}
		_ = conn.Send(joinAnswer(pointTo(id, peer, "its peer port answers"))) // it is closed either way
	}
}

// pointTo sends who asks for a number to another port, and tells whose node this is.
func pointTo(id Identity, peer, message string) *peerv1.JoinAnswer {
	return &peerv1.JoinAnswer{
		Result: peerv1.JoinAnswer_RESULT_ASK, Ask: peer, Message: message, Cluster: id.Cluster[:], Region: uint32(id.Region),
	}
}

func joinAnswer(a *peerv1.JoinAnswer) *peerv1.Message {
	return &peerv1.Message{Body: &peerv1.Message_JoinAnswer{JoinAnswer: a}}
}
