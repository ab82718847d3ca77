// Package grpcapi is the gRPC door: it offers a kv.Service to clients under the API of
// api/theriac/v1, with the standard health and reflection services beside it.
//
// It is responsible for translating messages, authenticating the caller, passing every call by one
// authorization point, and keeping what a client can make the process hold bounded. It decides
// nothing about data: levels, limits of keys and values, and transactions are the service's.
//
// # Invariants
//
//  1. Every call that names data passes Authorizer once for each distinct bucket, type and verb,
//     before the service sees it.
//  2. Every error that leaves is a status with an ErrorDetail, which says what became of the write.
//  3. A client never holds more than the limits below: messages, headers, streams, connections. All
//     together hold at most maxPartial of requests that have not arrived as a whole, and maxHeld of those
//     that are being carried out. A connection on which one goes on being unfinished brings minProgress in
//     every progressWindow.
//
// # Life of a call
//
//	listener (at most Config.MaxConnections) -> TLS -> meter -> HTTP/2 (frames and headers bounded)
//	  -> message (at most Config.MaxRequest) -> convert -> Authenticate -> Authorize -> kv.Service
//	  -> convert (at most MaxAnswer) -> status with ErrorDetail or message
//
// One-shot transactions of a client usually come through one Pipe stream instead of a gRPC call each,
// several in a message: receiver -> workers (at most maxPipeCalls) -> sender. The steps of a call
// are the same.
package grpcapi
