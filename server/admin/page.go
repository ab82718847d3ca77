package admin

import (
	"context"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// page is the whole site: a heading, the links, and the text that everybody else gets.
var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>theriac {{.Region}}</title>
<style>body{font-family:sans-serif;margin:2em}pre{line-height:1.4}a{margin-right:1em}</style></head>
<body><h1>theriac {{.Region}}</h1>
<p><a href="/healthz">health</a><a href="/readyz">readiness</a><a href="/metrics">metrics</a><a href="/debug/pprof/">profiles</a></p>
<pre>{{.Text}}</pre></body></html>
`))

func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), StatusTimeout)
	defer cancel()
	status, err := s.cfg.Status.Status(ctx)
	if err != nil {
		refuse(w, fmt.Sprintf("no status: %v\n", err))
		return
	}
	var b strings.Builder
	writeStatus(&b, status, s.notReady(), s.warnings())
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		text(w, b.String())
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// The caller has gone if this fails: the template's fields are strings.
	_ = page.Execute(w, struct{ Region, Text string }{status.Region, b.String()})
}

// writeStatus writes a status for people. Scripts use theriac status -o json.
func writeStatus(w io.Writer, s kv.Status, notReady, warnings []string) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	defer t.Flush()
	line := func(name string, value any) { fmt.Fprintf(t, "%s\t%v\n", name, value) }
	line("region", s.Region)
	line("state", s.State)
	for _, r := range notReady {
		line("not ready", r)
	}
	for _, r := range warnings {
		line("warning", r)
	}
	line("version", s.Version)
	line("cluster", s.Cluster)
	line("lane", s.Lane)
	line("incarnation", fmt.Sprintf("%x", s.Incarnation))
	line("open transactions", s.OpenTxns)
	line("pending removals", s.Pending)
	line("log bytes", s.LogBytes)
	for _, v := range []struct {
		name string
		at   clock.Vector
	}{{"exposed", s.Exposed}, {"durable", s.Durable}, {"stable", s.Stable}, {"settled", s.Settled}, {"horizon", s.Horizon}} {
		line(v.name, v.at)
	}
	t.Flush()
	writeRegions(t, s.Regions)
}

func writeRegions(t io.Writer, regions []kv.RegionStatus) {
	fmt.Fprint(t, "\nREGION\tNAME\tSTREAM\tLAG\tEXPOSED\tADDRESSES\n")
	for _, r := range regions {
		stream := "down"
		if r.Connected {
			stream = "up"
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", r.Region, r.Name, stream,
			r.Lag.Round(time.Millisecond), exposed(r.Exposed), strings.Join(r.Addresses, ","))
	}
}

// exposed prints a timestamp as the time of day that it stands for.
func exposed(t clock.Timestamp) string {
	if t == 0 {
		return "nothing"
	}
	return t.Wall().Time().Format(time.RFC3339Nano)
}
