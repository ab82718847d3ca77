package config

import (
	"encoding/hex"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/theriac-db/theriac/kv"
)

// Defaults and bounds of serve's settings. docs/reference/limits.md lists them.
const (
	DefaultRegion = "local"
	DefaultData   = "theriac-data"
	MaxRegionName = 64 // bytes
	MaxJoin       = 256

	DefaultCacheSize     Bytes = 64 << 20
	DefaultLeafCacheSize Bytes = 64 << 20
	DefaultMemTableSize  Bytes = 32 << 20
	MinCacheSize         Bytes = 1 << 20
	MaxCacheSize         Bytes = 1 << 40

	DefaultLogSize  Bytes = 1 << 30
	MinLogSize      Bytes = 64 << 20
	DefaultLogLimit Bytes = 64 << 30
	DefaultLogAge         = time.Hour
	MaxLogAge             = 30 * 24 * time.Hour

	DefaultMaxSkew = 500 * time.Millisecond
	MinMaxSkew     = 10 * time.Millisecond
	MaxMaxSkew     = time.Minute
)

// Serve is everything that a node needs to know before it starts.
type Serve struct {
	Region string // this region's name
	Named  bool   // Region was given, and is no default
	Data   string // folder of the store

	Listen       string // HOST:PORT for clients; port 0: the system picks
	PeerListen   string // HOST:PORT for other nodes' streams
	GossipListen string // HOST:PORT for membership, TCP and UDP
	AdminListen  string // HOST:PORT for health, metrics and profiles

	Join            []string // client addresses of other nodes; empty: found a cluster or go on with the known one
	Advertise       string   // HOST or HOST:PORT that others reach Listen at; empty: Listen itself
	PeerAdvertise   string   // HOST:PORT that others reach PeerListen at; empty: derived
	GossipAdvertise string   // HOST:PORT that others reach GossipListen at; empty: derived

	Insecure  bool // plaintext on every port; all are on loopback then
	TLS       TLS
	GossipKey []byte // 16, 24 or 32 bytes; nil: gossip in the clear, on loopback

	CacheSize     Bytes // blocks of files kept in memory
	LeafCacheSize Bytes // folded values kept in memory
	MemTableSize  Bytes // writes kept in memory before they go to a file

	// LogLimit is the size of the log beyond which records go that some region lacks; 0: none.
	LogLimit Bytes
	LogSize  Bytes         // log beyond which records that all regions have go before LogAge
	LogAge   time.Duration // log kept although all regions have it
	MaxSkew  time.Duration // a peer's clock may be this far ahead
	Gone     []string      // regions that a recovering node waits for no more

	// TestFaults lets whoever reaches the admin port set the node's clock and fill its disk, for tests.
	TestFaults bool

	gossipKeyFile string
}

// Register adds the settings to fs.
func (s *Serve) Register(fs *pflag.FlagSet) {
	own := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	s.registerPlace(own)
	s.registerSecurity(own)
	s.registerSizes(own)
	own.BoolVar(&s.TestFaults, "test-faults", false, "for tests only: the admin port takes calls that set this node's clock and fill its disk")
	own.Lookup("test-faults").Hidden = true // from whoever runs a node; the reference has it
	mark(own)
	fs.AddFlagSet(own)
}

func (s *Serve) registerPlace(fs *pflag.FlagSet) {
	fs.StringVar(&s.Region, "region", DefaultRegion, "this region's `NAME`: letters a-z, digits and -, at most 64; required with --join; a folder with data keeps its own when none is given")
	fs.StringVar(&s.Data, "data", DefaultData, "`FOLDER` of the data; made when it is missing")
	fs.StringVar(&s.Listen, "listen", DefaultAddr, "`HOST:PORT` for clients; with port 0 the system picks all four ports")
	fs.StringVar(&s.PeerListen, "peer-listen", "", "`HOST:PORT` for other nodes (default the port after --listen)")
	fs.StringVar(&s.GossipListen, "gossip-listen", "", "`HOST:PORT` for membership, TCP and UDP (default the second port after --listen)")
	fs.StringVar(&s.AdminListen, "admin-listen", "", "`HOST:PORT` for health, metrics and profiles over HTTP (default the third port after --listen)")
	fs.StringSliceVar(&s.Join, "join", nil, "--listen `HOST:PORT` of other nodes, comma-separated; without it a new folder founds a cluster")
	fs.StringVar(&s.Advertise, "advertise", "", "`HOST[:PORT]` at which others reach --listen (default --listen itself)")
	fs.StringVar(&s.PeerAdvertise, "peer-advertise", "", "`HOST:PORT` at which others reach --peer-listen (default from --advertise, or --peer-listen itself)")
	fs.StringVar(&s.GossipAdvertise, "gossip-advertise", "", "`HOST:PORT` at which others reach --gossip-listen (default from --advertise, or --gossip-listen itself)")
	fs.StringSliceVar(&s.Gone, "gone", nil, "region `NAMES` that are lost for good: a node that recovers its own log no longer waits for them, others join without them, and one that has not finished joining is abandoned where strong transactions are led")
}

func (s *Serve) registerSecurity(fs *pflag.FlagSet) {
	fs.BoolVar(&s.Insecure, "insecure", false, "plaintext on every port; loopback addresses only. Implied when neither addresses nor certificates are given")
	fs.StringVar(&s.TLS.CA, "tls-ca", "", "PEM `FILE` of the authorities that peers' certificates must come from")
	fs.StringVar(&s.TLS.Cert, "tls-cert", "", "PEM `FILE` of this node's certificate, for all ports and for dialling peers")
	fs.StringVar(&s.TLS.Key, "tls-key", "", "PEM `FILE` of this node's private key")
	fs.StringVar(&s.gossipKeyFile, "gossip-key-file", "", "`FILE` with 32, 48 or 64 hex digits, the same for all nodes, that encrypt gossip; required off loopback")
}

func (s *Serve) registerSizes(fs *pflag.FlagSet) {
	s.CacheSize, s.LeafCacheSize, s.MemTableSize = DefaultCacheSize, DefaultLeafCacheSize, DefaultMemTableSize
	s.LogSize, s.LogLimit = DefaultLogSize, DefaultLogLimit
	fs.Var(&s.CacheSize, "cache-size", "memory for blocks of data files, 1MiB to 1TiB; a quarter of the memory is a good start")
	fs.Var(&s.LeafCacheSize, "leaf-cache-size", "memory for folded values, 1MiB to 1TiB; as large as the hot values")
	fs.Var(&s.MemTableSize, "memtable-size", "writes kept in memory before they become a file, 1MiB to 1TiB; larger: fewer, larger files")
	fs.Var(&s.LogSize, "log-size", "records that every region has go before --log-age once the log is larger, 64MiB and up; bytes written in the time that retries take")
	fs.Var(&s.LogLimit, "log-limit", "beyond this size of the log the oldest records go although a region that is away lacks them, and it copies all data anew when it is back; at least --log-size, 0 for no limit")
	fs.DurationVar(&s.LogAge, "log-age", DefaultLogAge, "records are kept this long although every region has them, 0s to 720h; retries of operations are recognised this long")
	fs.DurationVar(&s.MaxSkew, "max-skew", DefaultMaxSkew, "a peer whose clock is further ahead is paused, 10ms to 1m")
}

var regionName = regexp.MustCompile(`^[a-z0-9-]+$`)

// Validate checks the settings of the loaded flag set, fills in the addresses that follow from
// others, and reads the gossip key (invariant 2). It binds and creates nothing.
func (s *Serve) Validate(fs *pflag.FlagSet) error {
	for _, check := range []func() error{s.checkNames, s.checkSizes, s.fillListen, s.checkDialled} {
		if err := check(); err != nil {
			return err
		}
	}
	if len(s.Join) > 0 && !fs.Changed("region") {
		return kv.Errorf(kv.KindInvalid, "--join needs --region NAME: every region of a cluster has its own name")
	}
	s.Named = fs.Changed("region")
	return s.checkSecurity(fs)
}

func (s *Serve) checkNames() error {
	for _, name := range append([]string{s.Region}, s.Gone...) {
		if len(name) > MaxRegionName || !regionName.MatchString(name) {
			return kv.Errorf(kv.KindInvalid, "region name %q: want 1 to %d letters a-z, digits and -", name, MaxRegionName)
		}
	}
	switch {
	case slices.Contains(s.Gone, s.Region):
		return kv.Errorf(kv.KindInvalid, "--gone %s: that is this region", s.Region)
	case s.Data == "":
		return kv.Errorf(kv.KindInvalid, "--data: want a folder")
	}
	return nil
}

func (s *Serve) checkSizes() error {
	for _, c := range []struct {
		flag     string
		v        Bytes
		min, max Bytes
	}{
		{"cache-size", s.CacheSize, MinCacheSize, MaxCacheSize},
		{"leaf-cache-size", s.LeafCacheSize, MinCacheSize, MaxCacheSize},
		{"memtable-size", s.MemTableSize, MinCacheSize, MaxCacheSize},
		{"log-size", s.LogSize, MinLogSize, 1 << 60},
	} {
		if c.v < c.min || c.v > c.max {
			return kv.Errorf(kv.KindInvalid, "--%s %s: want %s to %s", c.flag, &c.v, &c.min, &c.max)
		}
	}
	if s.LogLimit == DefaultLogLimit {
		s.LogLimit = max(s.LogLimit, s.LogSize)
	}
	if s.LogLimit != 0 && s.LogLimit < s.LogSize {
		return kv.Errorf(kv.KindInvalid, "--log-limit %s: want 0, or at least --log-size %s", &s.LogLimit, &s.LogSize)
	}
	for _, c := range []struct {
		flag        string
		v, min, max time.Duration
	}{
		{"log-age", s.LogAge, 0, MaxLogAge},
		{"max-skew", s.MaxSkew, MinMaxSkew, MaxMaxSkew},
	} {
		if c.v < c.min || c.v > c.max {
			return kv.Errorf(kv.KindInvalid, "--%s %s: want %s to %s", c.flag, c.v, c.min, c.max)
		}
	}
	return nil
}

// fillListen derives the listen addresses that were not given from --listen.
func (s *Serve) fillListen() error {
	host, port, err := splitAddress("listen", s.Listen)
	if err != nil {
		return err
	}
	s.Listen = net.JoinHostPort(host, fmt.Sprint(port))
	for _, a := range []struct {
		flag   string
		to     *string
		offset int
	}{{"peer-listen", &s.PeerListen, peerOffset}, {"gossip-listen", &s.GossipListen, gossipOffset}, {"admin-listen", &s.AdminListen, adminOffset}} {
		if *a.to == "" {
			if *a.to, err = next(a.flag, host, port, a.offset); err != nil {
				return err
			}
		} else if _, _, err := splitAddress(a.flag, *a.to); err != nil {
			return err
		}
	}
	return s.checkDistinct()
}

// checkDistinct refuses one address for two purposes, which would only fail at the second bind.
func (s *Serve) checkDistinct() error {
	seen := map[string]string{}
	for _, l := range s.listeners() {
		if _, port, _ := splitAddress(l.flag, l.address); port == 0 {
			continue
		}
		if other, twice := seen[l.address]; twice {
			return kv.Errorf(kv.KindInvalid, "--%s and --%s are both %s: give each its own port", other, l.flag, l.address)
		}
		seen[l.address] = l.flag
	}
	return nil
}

type listener struct{ flag, address string }

func (s *Serve) listeners() []listener {
	return []listener{{"listen", s.Listen}, {"peer-listen", s.PeerListen}, {"gossip-listen", s.GossipListen}, {"admin-listen", s.AdminListen}}
}

// checkDialled checks the addresses that other nodes, or this one, will dial.
func (s *Serve) checkDialled() error {
	if len(s.Join) > MaxJoin {
		return kv.Errorf(kv.KindInvalid, "--join: %d addresses, want at most %d", len(s.Join), MaxJoin)
	}
	dialled := []listener{{"peer-advertise", s.PeerAdvertise}, {"gossip-advertise", s.GossipAdvertise}}
	for _, j := range s.Join {
		dialled = append(dialled, listener{"join", j})
	}
	if _, _, err := splitAdvertise(s.Advertise); err != nil {
		return err
	}
	for _, d := range dialled {
		if d.address == "" && d.flag != "join" {
			continue
		}
		if _, _, err := splitDialled(d.flag, d.address); err != nil {
			return err
		}
	}
	return s.checkReachable()
}

// checkReachable refuses to tell others an address that means every interface.
func (s *Serve) checkReachable() error {
	if s.Advertise != "" {
		return nil
	}
	for _, l := range s.listeners()[:3] {
		told := map[string]string{"peer-listen": s.PeerAdvertise, "gossip-listen": s.GossipAdvertise}[l.flag]
		if host, _, _ := splitAddress(l.flag, l.address); told == "" && isWildcard(host) {
			return kv.Errorf(kv.KindInvalid, "--%s %s is every interface, which nobody can dial: say where others reach this node with --advertise HOST", l.flag, l.address)
		}
	}
	return nil
}

// checkSecurity settles plaintext or TLS and reads the gossip key.
func (s *Serve) checkSecurity(fs *pflag.FlagSet) error {
	flag, remote := s.firstRemote()
	implied := !anyChanged(fs, "insecure", "listen", "peer-listen", "gossip-listen", "admin-listen", "join",
		"advertise", "peer-advertise", "gossip-advertise")
	if err := (security{&s.Insecure, s.TLS, implied, flag, remote}).settle(); err != nil {
		return err
	}
	if !s.Insecure && (s.TLS.CA == "" || s.TLS.Cert == "") {
		return kv.Errorf(kv.KindInvalid, "a node with addresses of its own needs --tls-ca, --tls-cert and --tls-key; on loopback --insecure (or %s=1) allows plaintext", EnvName("insecure"))
	}
	return s.readGossipKey()
}

// firstRemote is the first address that is not on loopback, with its flag.
func (s *Serve) firstRemote() (flag, address string) {
	all := s.listeners()
	for _, j := range s.Join {
		all = append(all, listener{"join", j})
	}
	for _, l := range all {
		if host, _, err := splitAddress(l.flag, l.address); err != nil || !isLoopback(host) {
			return l.flag, l.address
		}
	}
	return "", ""
}

func (s *Serve) readGossipKey() error {
	if s.gossipKeyFile == "" {
		if host, _, _ := splitAddress("gossip-listen", s.GossipListen); !isLoopback(host) {
			return kv.Errorf(kv.KindInvalid, "--gossip-listen %s is not loopback: give the key that encrypts gossip with --gossip-key-file (openssl rand -hex 32 makes one)", s.GossipListen)
		}
		return nil
	}
	text, err := readBounded(s.gossipKeyFile, 1<<10)
	if err != nil {
		return kv.Errorf(kv.KindInvalid, "--gossip-key-file: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 16 && len(key) != 24 && len(key) != 32 {
		return kv.Errorf(kv.KindInvalid, "--gossip-key-file %s: want 32, 48 or 64 hex digits", s.gossipKeyFile)
	}
	s.GossipKey = key
	return nil
}

// Advertised is what others are told, given the addresses that were in fact bound.
func (s *Serve) Advertised(bound kv.Addresses) (kv.Addresses, error) {
	out := bound
	if s.Advertise != "" {
		var err error
		if out, err = s.derive(bound); err != nil {
			return kv.Addresses{}, err
		}
	}
	if s.PeerAdvertise != "" {
		out.Peer = s.PeerAdvertise
	}
	if s.GossipAdvertise != "" {
		out.Gossip = s.GossipAdvertise
	}
	return out, nil
}

// derive applies --advertise: a host alone replaces the hosts and keeps the bound ports; with a port
// the others follow it as they follow --listen.
func (s *Serve) derive(bound kv.Addresses) (kv.Addresses, error) {
	host, port, err := splitAdvertise(s.Advertise)
	if err != nil {
		return kv.Addresses{}, err
	}
	var out kv.Addresses
	for _, d := range []struct {
		to     *string
		bound  string
		offset int
	}{{&out.Client, bound.Client, 0}, {&out.Peer, bound.Peer, peerOffset},
		{&out.Gossip, bound.Gossip, gossipOffset}, {&out.Admin, bound.Admin, adminOffset}} {
		base, offset := port, d.offset
		if port == 0 {
			if _, base, err = splitAddress("listen", d.bound); err != nil {
				return kv.Addresses{}, err
			}
			offset = 0
		}
		if *d.to, err = next("advertise", host, base, offset); err != nil {
			return kv.Addresses{}, err
		}
	}
	return out, nil
}

// ReadyLine is the one line that serve prints on stdout once it serves: fixed words, then
// name=value pairs, which scripts may rely on.
func ReadyLine(region string, a kv.Addresses) string {
	return fmt.Sprintf("theriac ready region=%s clients=%s peers=%s gossip=%s admin=%s\n", region, a.Client, a.Peer, a.Gossip, a.Admin)
}
