package admin

import (
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler is everything the port answers, with its limits, for a caller that serves it itself.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", s.metrics())
	// A named profile with seconds=N is the difference over that time.
	mux.HandleFunc("GET /debug/pprof/", boundedProfile(pprof.Index))
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", boundedProfile(pprof.Profile))
	mux.HandleFunc("GET /debug/pprof/trace", boundedProfile(pprof.Trace))
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	if s.cfg.Regions != nil {
		mux.HandleFunc("POST /regions/{name}/abandon", s.abandon)
	}
	if s.cfg.Faults != nil {
		mux.HandleFunc("POST /test/clock", s.setClock)
		mux.HandleFunc("POST /test/disk", s.setRoom)
	}
	// A page that a browser has open elsewhere may not change anything here.
	own := http.NewCrossOriginProtection().Handler(mux)
	return http.MaxBytesHandler(boundedRequests(headers(own), MaxRequests), MaxBodyBytes)
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	if err := s.cfg.Health.Alive(); err != nil {
		refuse(w, err.Error()+"\n")
		return
	}
	text(w, "ok\n")
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	reasons, warnings := s.notReady(), ""
	for _, said := range s.warnings() {
		warnings += "warning: " + said + "\n"
	}
	if len(reasons) > 0 {
		refuse(w, strings.Join(reasons, "\n")+"\n"+warnings)
		return
	}
	text(w, "ready\n"+warnings)
}

// notReady lists why not, one line each: a node that can't work is not ready either.
func (s *Server) notReady() []string {
	var reasons []string
	if err := s.cfg.Health.Alive(); err != nil {
		reasons = append(reasons, err.Error())
	}
	return append(reasons, oneLineEach(s.cfg.Health.NotReady())...)
}

// warnings lists what is wrong elsewhere, one line each.
func (s *Server) warnings() []string { return oneLineEach(s.cfg.Health.Warnings()) }

func oneLineEach(sentences []string) []string {
	out := make([]string, len(sentences))
	for i, s := range sentences {
		out[i] = strings.ReplaceAll(s, "\n", " ")
	}
	return out
}

// metrics serves what can be gathered even when one metric can't: the log says what is missing.
func (s *Server) metrics() http.Handler {
	return promhttp.HandlerFor(s.cfg.Metrics, promhttp.HandlerOpts{
		ErrorLog:      scrapeLog(s.cfg.Logf),
		ErrorHandling: promhttp.ContinueOnError,
		Timeout:       ReadTimeout,
	})
}

// scrapeLog is promhttp's logger.
type scrapeLog func(format string, args ...any)

// Println implements promhttp.Logger.
func (l scrapeLog) Println(v ...any) {
	for _, part := range v {
		if err, ok := part.(error); ok {
			l("admin: scrape of metrics: %v", err)
		}
	}
}

func text(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(body)) // the caller has gone: nobody to tell
}

func refuse(w http.ResponseWriter, why string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(why)) // the caller has gone: nobody to tell
}

// headers keeps answers out of caches, and pages from being anything but what they are.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// boundedRequests lets n requests through at a time (invariant 1).
func boundedRequests(next http.Handler, n int) http.Handler {
	slots := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			refuse(w, "too many requests at a time on the admin port: try again in a second\n")
		}
	})
}

// boundedProfile refuses a profile that would run longer than MaxProfile.
func boundedProfile(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s := r.FormValue("seconds"); s != "" {
			seconds, err := strconv.ParseFloat(s, 64)
			// Written so that NaN is refused too.
			if err != nil || !(seconds >= 0 && seconds <= MaxProfile.Seconds()) {
				http.Error(w, "seconds="+strconv.Quote(s)+": want a number from 0 to "+
					strconv.Itoa(int(MaxProfile/time.Second)), http.StatusBadRequest)
				return
			}
		}
		next(w, r)
	}
}
