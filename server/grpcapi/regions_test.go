package grpcapi_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/server/grpcapi"
)

// shrinking is a service whose cluster loses the region that it is told, unless it is eu, which it fences only.
type shrinking struct {
	kv.Service
	removed *string
}

func (s shrinking) RemoveRegion(_ context.Context, name string) error {
	if name == "eu" {
		return kv.Errorf(kv.KindDeadline, "region eu is fenced").WithOutcome(kv.Applied)
	}
	*s.removed = name
	return nil
}

func (s shrinking) Status(ctx context.Context) (kv.Status, error) {
	status, err := s.Service.Status(ctx)
	status.Regions = append(status.Regions, kv.RegionStatus{Region: 9, Name: "ap", Phase: "fenced", Awaits: []string{"us", "sa"}})
	return status, err
}

// keeper lets nobody decide on regions.
type keeper struct{}

func (keeper) Authorize(_ context.Context, a grpcapi.Access) error {
	if a.Regions {
		return kv.Errorf(kv.KindDenied, "regions are not yours to decide on")
	}
	return nil
}

func TestRegionsAreRemovedOverTheNetwork(t *testing.T) {
	removed := ""
	svc := shrinking{memkv.New().Node(1, "eu"), &removed}
	db := inMemory(t, grpcapi.Config{Service: svc})
	require.NoError(t, db.RemoveRegion(ctx, "ap"))
	require.Equal(t, "ap", removed)
	err := db.RemoveRegion(ctx, "eu")
	require.ErrorIs(t, err, client.ErrDeadline)
	require.Equal(t, client.OutcomeApplied, client.OutcomeOf(err))
	s, err := db.Status(ctx)
	require.NoError(t, err)
	ap := s.Regions[len(s.Regions)-1]
	require.Equal(t, "fenced", ap.Phase)
	require.Equal(t, []string{"us", "sa"}, ap.Awaits)

	db = inMemory(t, grpcapi.Config{Service: svc, Authorizer: keeper{}})
	require.ErrorIs(t, db.RemoveRegion(ctx, "us"), client.ErrDenied)
	db = inMemory(t, grpcapi.Config{Service: memkv.New().Node(1, "eu")})
	require.ErrorIs(t, db.RemoveRegion(ctx, "us"), client.ErrInvalid)
	require.Equal(t, "ap", removed)
}
