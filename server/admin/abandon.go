package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/theriac-db/theriac/kv"
)

// Regions decides which regions belong to the cluster.
type Regions interface {
	// Abandon gives up a region that has not finished joining, durably. It is called on any goroutine
	// and waits for the disk. Its errors match those of package kv.
	Abandon(ctx context.Context, region string) error
}

func (s *Server) abandon(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := s.cfg.Regions.Abandon(r.Context(), name); err != nil {
		s.cfg.Logf("admin: abandoning region %q: %v", name, err)
		http.Error(w, err.Error(), statusOf(err))
		return
	}
	text(w, "abandoned\n")
}

// statusOf is the HTTP status for an error of the database.
func statusOf(err error) int {
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, kv.ErrInvalid):
		return http.StatusConflict
	case errors.Is(err, kv.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
