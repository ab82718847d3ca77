package grpcapi

import "google.golang.org/grpc"

// RegisterService offers another service on the same port, as the peers' one for nodes that join.
// Call it before Serve. Such calls pass no authorization point; the service checks its callers.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.grpc.RegisterService(desc, impl)
}

var _ grpc.ServiceRegistrar = (*Server)(nil)
