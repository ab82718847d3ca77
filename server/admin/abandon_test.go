package admin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
)

// fakeRegions notes what it was asked to abandon.
type fakeRegions struct {
	abandoned []string
	err       error
}

func (f *fakeRegions) Abandon(_ context.Context, region string) error {
	f.abandoned = append(f.abandoned, region)
	return f.err
}

func post(h http.Handler, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestARegionIsAbandonedOnDemand(t *testing.T) {
	n, regions, log := &fakeNode{}, &fakeRegions{}, &journal{}
	h := New(Config{Health: n, Status: n, Metrics: NewRegistry(), Regions: regions, Logf: log.logf}).Handler()
	w := post(h, "/regions/ap/abandon")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "abandoned\n", w.Body.String())
	require.Equal(t, []string{"ap"}, regions.abandoned)
	require.Equal(t, 405, get(t, h, "/regions/ap/abandon").Code, "following a link changes nothing")

	for _, test := range []struct {
		err  error
		code int
	}{
		{kv.Errorf(kv.KindNotFound, "no such region"), 404},
		{kv.Errorf(kv.KindInvalid, "it has joined"), 409},
		{kv.Errorf(kv.KindUnavailable, "recovering"), 503},
		{errors.New("disk full"), 500},
	} {
		regions.err = test.err
		w := post(h, "/regions/ap/abandon")
		require.Equal(t, test.code, w.Code)
		require.Contains(t, w.Body.String(), test.err.Error())
		require.Contains(t, log.lines[len(log.lines)-1], test.err.Error())
	}
}

func TestAPageElsewhereCanNotAbandonARegion(t *testing.T) {
	n, regions := &fakeNode{}, &fakeRegions{}
	h := New(Config{Health: n, Status: n, Metrics: NewRegistry(), Regions: regions}).Handler()
	require.Equal(t, 403, post(h, "/regions/ap/abandon", "Sec-Fetch-Site", "cross-site").Code)
	require.Equal(t, 403, post(h, "/regions/ap/abandon", "Origin", "https://elsewhere.example").Code)
	require.Empty(t, regions.abandoned)
	require.Equal(t, 404, post(newServer(n).Handler(), "/regions/ap/abandon").Code, "a port without regions")
}
