package convert

import (
	"errors"
	"math"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/kv"
)

// codeOf is the status code of each kind, for clients that look no further than the code.
var codeOf = [...]codes.Code{
	kv.KindInvalid:      codes.InvalidArgument,
	kv.KindTooLarge:     codes.InvalidArgument,
	kv.KindNotFound:     codes.NotFound,
	kv.KindDenied:       codes.PermissionDenied,
	kv.KindLevelRefused: codes.FailedPrecondition,
	kv.KindStale:        codes.FailedPrecondition,
	kv.KindUnavailable:  codes.Unavailable,
	kv.KindAborted:      codes.Aborted,
	kv.KindBound:        codes.FailedPrecondition,
	kv.KindNoRights:     codes.FailedPrecondition,
	kv.KindTooOld:       codes.OutOfRange,
	kv.KindLost:         codes.DataLoss,
	kv.KindReadOnly:     codes.FailedPrecondition,
	kv.KindCorrupt:      codes.DataLoss,
	kv.KindOverloaded:   codes.ResourceExhausted,
	kv.KindDeadline:     codes.DeadlineExceeded,
}

// code is the status code of an error. Proxies and generic clients send again what ended with
// Unavailable, so only what was not applied gets that.
func code(e *kv.Error) codes.Code {
	switch {
	case int(e.Kind) >= len(codeOf) || e.Kind == 0:
		return codes.Unknown
	case e.Kind == kv.KindUnavailable && e.Outcome != kv.NotApplied:
		return codes.Unknown
	}
	return codeOf[e.Kind]
}

// EncodeError makes the status of an error. An error that is no *kv.Error is a fault of ours; what
// became of a write is then unknown.
func EncodeError(err error) error {
	e, message, detail := encodeFailure(err)
	st, failed := status.New(code(e), message).WithDetails(detail)
	if failed != nil {
		panic("convert: a generated message can't be packed: " + failed.Error())
	}
	return st.Err()
}

// EncodeFailure makes the parts of an error that travels inside an answer.
func EncodeFailure(err error) (string, *pb.ErrorDetail) {
	_, message, detail := encodeFailure(err)
	return strings.ToValidUTF8(message, "\uFFFD"), detail // a field of a message takes nothing else
}

func encodeFailure(err error) (*kv.Error, string, *pb.ErrorDetail) {
	var e *kv.Error
	if !errors.As(err, &e) {
		e = &kv.Error{Kind: kv.KindUnavailable, Outcome: kv.OutcomeUnknown}
	}
	message := e.Message // Error() repeats the outcome, which the detail holds
	if e != err {        //nolint:errorlint // asks whether e was wrapped, not what it is
		message = err.Error()
	}
	if message == "" {
		message = e.Kind.String()
	}
	return e, message, &pb.ErrorDetail{
		Kind:             pb.ErrorKind(e.Kind),
		Outcome:          pb.WriteOutcome(e.Outcome),
		RetryAfterMicros: micros(e.RetryAfter),
		OperationId:      encodeID(e.ID),
		Token:            kv.TokenOf(err).Encode(),
		Conflict:         e.Conflict,
		Needs:            encodeNeeds(e.Needs),
	}
}

func encodeNeeds(c kv.Consistency) string {
	if c == (kv.Consistency{}) {
		return ""
	}
	return c.String()
}

// DecodeError finds theriac's error in the error of a call; false when there is none, because the
// call failed on its way.
func DecodeError(err error) (*kv.Error, bool) {
	st, ok := status.FromError(err)
	if !ok {
		return nil, false
	}
	for _, d := range st.Details() {
		if detail, ok := d.(*pb.ErrorDetail); ok {
			return DecodeFailure(st.Message(), detail), true
		}
	}
	return nil, false
}

// DecodeFailure reads an error that travelled inside an answer.
func DecodeFailure(message string, m *pb.ErrorDetail) *kv.Error {
	e := &kv.Error{Message: message, Outcome: kv.OutcomeUnknown}
	if m.Kind > 0 && m.Kind <= math.MaxUint8 {
		e.Kind = kv.Kind(m.Kind)
	}
	if m.Outcome >= 0 && m.Outcome < pb.WriteOutcome_WRITE_OUTCOME_UNKNOWN {
		e.Outcome = kv.Outcome(m.Outcome)
	}
	// A malformed hint, id or token is left out: the rest of the detail is worth more than a second error.
	e.RetryAfter, _ = duration(m.RetryAfterMicros)
	e.ID, _ = decodeID(m.OperationId)
	e.Token, _ = kv.DecodeToken(m.Token)
	e.Needs, _ = kv.ParseConsistency(m.Needs)
	e.Conflict = m.Conflict
	return e
}
