// Package admin is the door for operators: one HTTP port with health, readiness, metrics, profiles
// and a page that says how the node is.
//
//	GET /               the node's status, as HTML for browsers and as text for everybody else
//	GET /healthz        200 while the process can work at all, else 503 with the reason
//	GET /readyz         200 when clients are served in full, else 503 with one reason a line; either way
//	                    a line "warning: ..." for each thing that is wrong with other regions
//	GET /metrics        Prometheus metrics, from a registry of the caller's
//	GET /debug/pprof/   profiles of the running process (net/http/pprof)
//	POST /regions/NAME/abandon
//	                    gives up a region that does not finish joining
//	POST /test/clock?offset=DURATION, /test/disk?room=BYTES
//	                    make the node ill, where it was started for that only (Config.Faults)
//
// It translates and decides nothing: what is healthy, what a status holds and what a metric counts,
// it asks of the interfaces in this package, which node satisfies. It authorizes nobody, so whoever
// opens the port decides who reaches it: by loopback, or by a TLS configuration that asks for
// client certificates. The pages load nothing from elsewhere and work without a network.
//
// # Invariants
//
//  1. At most MaxConnections connections and MaxRequests requests exist at a time; what is beyond is
//     refused at once, so that a flood on this port costs the database next to nothing.
//  2. Each request's header, body and time are bounded by the constants of this package.
//  3. /healthz, /readyz and / answer from memory: they wait for no disk, no peer and no client.
//  4. Every name of a metric is written in docs/reference/metrics.md (a test compares them).
//  5. A scrape never fails because of the content of a Snapshot that Validate accepts.
package admin
