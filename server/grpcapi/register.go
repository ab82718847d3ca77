package grpcapi

import "google.golang.org/grpc"

// RegisterService offers another service on the same port, as the answer where nodes that
// join find the peer port. Call it before Serve. Such calls pass no authorization point, and callers have
// no certificate: the service must give nothing away.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.grpc.RegisterService(desc, impl)
}

var _ grpc.ServiceRegistrar = (*Server)(nil)
