package config

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/theriac-db/theriac/kv"
)

// DefaultAddr is where a client looks for a node, and where serve listens, when nothing else is said.
const DefaultAddr = "127.0.0.1:6700"

// Bounds of client settings. docs/reference/limits.md lists them.
const (
	DefaultTimeout = 10 * time.Second
	MaxTimeout     = 24 * time.Hour
	MaxAddrs       = 64 // client addresses; one a node is plenty
)

// Client is how a data command reaches the database and what it asks for.
type Client struct {
	Addrs       []string // HOST:PORT each, tried in order
	Bucket      string   // empty: kv.DefaultBucket, or all buckets where a command takes all
	Consistency kv.Consistency
	Durability  kv.Reach
	Session     string // file that keeps the token between calls; empty: none
	Output      Output
	Timeout     time.Duration // of a call, and of each step of a long command
	Receipt     bool          // also print how the answer came about
	Insecure    bool          // plaintext
	TLS         TLS
}

// Register adds the settings to fs.
func (c *Client) Register(fs *pflag.FlagSet) {
	c.Output = OutputTable
	own := pflag.NewFlagSet("client", pflag.ContinueOnError)
	own.StringSliceVar(&c.Addrs, "addr", []string{DefaultAddr}, "client `HOST:PORT` of a node; several, comma-separated, are tried in order")
	own.StringVar(&c.Bucket, "bucket", "", "bucket that keys are in (default \""+string(kv.DefaultBucket)+"\")")
	own.Var(level{&c.Consistency}, "consistency", "what an answer includes: eventual, causal, bounded:2s (or another time; bounded:2s:fail never waits for it), quorum or strong")
	own.Var(durability{&c.Durability}, "durability", "when a write answers: applied (readable here), local (on this region's disk), a number of regions, majority or all")
	own.StringVar(&c.Session, "session", "", "`FILE` that keeps the session's token, so that later calls see what this one saw and wrote")
	own.VarP(&c.Output, "output", "o", "how answers are printed: table or json")
	own.DurationVar(&c.Timeout, "timeout", DefaultTimeout, "give up a call after this `duration`, 1ms to 24h")
	own.BoolVar(&c.Receipt, "receipt", false, "also print the receipt: level, region, node, snapshot, commit, durability reached, staleness, time paid by phase")
	own.BoolVar(&c.Insecure, "insecure", false, "plaintext; loopback addresses only. Implied when neither addresses nor certificates are given")
	own.StringVar(&c.TLS.CA, "tls-ca", "", "PEM `FILE` of the authorities that a node's certificate must come from (default the system's)")
	own.StringVar(&c.TLS.Cert, "tls-cert", "", "PEM `FILE` of the own certificate, where nodes ask for one")
	own.StringVar(&c.TLS.Key, "tls-key", "", "PEM `FILE` of the own private key")
	mark(own)
	fs.AddFlagSet(own)
}

// BucketOrDefault is the bucket of commands that work in one.
func (c *Client) BucketOrDefault() kv.Bucket {
	if c.Bucket == "" {
		return kv.DefaultBucket
	}
	return kv.Bucket(c.Bucket)
}

// Options are the request options that the settings ask for.
func (c *Client) Options() kv.Options {
	o := kv.Options{Receipt: c.Receipt}
	o.SetConsistency(c.Consistency)
	o.SetReach(c.Durability)
	return o
}

// Validate checks the settings of the loaded flag set and settles whether the connection is
// plaintext (invariant 2).
func (c *Client) Validate(fs *pflag.FlagSet) error {
	if err := c.checkRanges(fs); err != nil {
		return err
	}
	remote := ""
	for _, a := range c.Addrs {
		host, _, err := splitDialled("addr", a)
		if err != nil {
			return err
		}
		if !isLoopback(host) {
			remote = a
		}
	}
	implied := !anyChanged(fs, "addr", "insecure")
	return security{&c.Insecure, c.TLS, implied, "addr", remote}.settle()
}

func (c *Client) checkRanges(fs *pflag.FlagSet) error {
	switch {
	case c.Bucket == "" && anyChanged(fs, "bucket"):
		return kv.Errorf(kv.KindInvalid, "--bucket: want a name of 1 to %d bytes", kv.MaxBucket)
	case len(c.Addrs) == 0 || len(c.Addrs) > MaxAddrs:
		return kv.Errorf(kv.KindInvalid, "--addr: want 1 to %d addresses", MaxAddrs)
	case len(c.Bucket) > kv.MaxBucket:
		return kv.Errorf(kv.KindTooLarge, "--bucket: %d bytes, want at most %d", len(c.Bucket), kv.MaxBucket)
	case c.Timeout < time.Millisecond || c.Timeout > MaxTimeout:
		return kv.Errorf(kv.KindInvalid, "--timeout %s: want 1ms to %s", c.Timeout, MaxTimeout)
	}
	return nil
}

// security decides between plaintext and TLS, by the same rule for servers and clients.
type security struct {
	insecure *bool
	files    TLS
	implied  bool   // no address was given: the defaults, on loopback, need no certificates
	flag     string // the flag that an address which is not on loopback came from
	remote   string // that address; empty when all are on loopback
}

func (s security) settle() error {
	switch {
	case *s.insecure && !s.files.isZero():
		return kv.Errorf(kv.KindInvalid, "--insecure means plaintext, --tls-ca, --tls-cert and --tls-key mean TLS: choose one")
	case *s.insecure && s.remote != "":
		return kv.Errorf(kv.KindInvalid, "--insecure is for loopback only and --%s %s is not: give --tls-ca, --tls-cert and --tls-key instead", s.flag, s.remote)
	case !s.files.isZero():
		return s.files.check()
	case s.implied && s.remote == "":
		*s.insecure = true
	}
	return nil
}

func anyChanged(fs *pflag.FlagSet, names ...string) bool {
	for _, n := range names {
		if f := fs.Lookup(n); f != nil && f.Changed {
			return true
		}
	}
	return false
}
