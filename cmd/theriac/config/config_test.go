package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
)

func clientFlags() (*Client, *pflag.FlagSet) {
	c, fs := &Client{}, pflag.NewFlagSet("client", pflag.ContinueOnError)
	fs.String(FileFlag, "", "")
	fs.String("prefix", "", "no setting")
	c.Register(fs)
	return c, fs
}

func serveFlags() (*Serve, *pflag.FlagSet) {
	s, fs := &Serve{}, pflag.NewFlagSet("serve", pflag.ContinueOnError)
	fs.String(FileFlag, "", "")
	s.Register(fs)
	return s, fs
}

func write(t *testing.T, text string) string {
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func TestPrecedence(t *testing.T) {
	file := write(t, "# comment\naddr: [localhost:1, localhost:2]\nbucket: file\ntimeout: 3s\nsession: no\nregion: eu\n")
	c, fs := clientFlags()
	require.NoError(t, fs.Parse([]string{"--bucket", "flag"}))
	require.NoError(t, Load(fs, []string{"THERIAC_CONFIG=" + file, "THERIAC_BUCKET=env", "THERIAC_TIMEOUT=4s", "PATH=/bin"}))
	require.NoError(t, c.Validate(fs))
	require.Equal(t, []string{"localhost:1", "localhost:2"}, c.Addrs)
	require.Equal(t, kv.Bucket("flag"), c.BucketOrDefault())
	require.Equal(t, 4*time.Second, c.Timeout)
	require.Equal(t, "no", c.Session, "text is what was written, not YAML's false")
}

func TestTheFlagNamesTheFile(t *testing.T) {
	c, fs := clientFlags()
	require.NoError(t, fs.Parse([]string{"--config", write(t, "bucket: b")}))
	require.NoError(t, Load(fs, []string{"THERIAC_CONFIG=/does/not/exist"}))
	require.Equal(t, "b", c.Bucket)
	c, fs = clientFlags()
	require.NoError(t, fs.Parse([]string{"--config", write(t, "# nothing\n")}))
	require.NoError(t, Load(fs, nil))
	require.Equal(t, kv.DefaultBucket, c.BucketOrDefault())
	require.Equal(t, kv.Options{}, c.Options())
}

// Invariant 1.
func TestLoadRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"bukket: b":                    `no setting "bukket"; did you mean bucket?`,
		"quite-something-else: 1":      "configuration.md lists all",
		"prefix: x":                    `no setting "prefix"`,
		"config: x":                    `no setting "config"`,
		"bucket: a\nbucket: b":         "twice",
		"- a\n- b":                     "one setting a line",
		"bucket: {a: b}":               "plain value",
		"addr: [[a]]":                  "plain value in this list",
		"bucket: [":                    "yaml",
		"timeout: soon":                `configuration key timeout: value "soon"`,
		strings.Repeat("#", MaxFile+1): "larger than",
	} {
		_, fs := clientFlags()
		require.NoError(t, fs.Parse([]string{"--config", write(t, text)}))
		err := Load(fs, nil)
		require.ErrorContains(t, err, says, "%.40s", text)
		require.ErrorIs(t, err, kv.ErrInvalid)
	}
	for variable, says := range map[string]string{
		"THERIAC_BUKET=b":              "did you mean THERIAC_BUCKET?",
		"THERIAC_TIMEOUT=":             `THERIAC_TIMEOUT: value ""`,
		"THERIAC_CONSISTENCY=bounded":  "how old what an answer misses may be",
		"THERIAC_INSECURE=perhaps":     `THERIAC_INSECURE: value "perhaps": want true or false`,
		"THERIAC_CONFIG=/no/such/file": "no such file",
	} {
		_, fs := clientFlags()
		require.ErrorContains(t, Load(fs, []string{variable}), says)
	}
}

func TestServiceLinksAreNoSettings(t *testing.T) {
	_, fs := clientFlags()
	require.NoError(t, Load(fs, []string{"THERIAC_PORT=tcp://10.0.0.1:6700", "THERIAC_PORT_6700_TCP_ADDR=10.0.0.1", "THERIAC_SERVICE_HOST=10.0.0.1"}))
}

func TestClientIsPlaintextOnlyOnLoopback(t *testing.T) {
	for args, insecure := range map[string]bool{
		"":                                      true,
		"--insecure":                            true,
		"--insecure=false":                      false,
		"--addr localhost:1 --insecure":         true,
		"--addr [::1]:1,127.0.0.9:2 --insecure": true,
		"--addr 127.0.0.1:6700":                 false,
		"--addr example.org:1":                  false,
		"--tls-ca x":                            false,
		"--tls-cert x --tls-key y":              false,
	} {
		c, fs := clientFlags()
		require.NoError(t, fs.Parse(strings.Fields(args)))
		require.NoError(t, c.Validate(fs), args)
		require.Equal(t, insecure, c.Insecure, args)
	}
}

func TestClientRefuses(t *testing.T) {
	for args, says := range map[string]string{
		"--addr=":                              "want 1 to 64",
		"--addr x":                             "HOST:PORT",
		"--addr x:y":                           "want a port",
		"--addr x:70000":                       "want a port",
		"--addr x:0":                           "can be dialled",
		"--addr 0.0.0.0:1":                     "can be dialled",
		"--addr :1":                            "can be dialled",
		"--insecure --addr example.org:1":      "loopback only",
		"--insecure --addr localhost.evil:1":   "loopback only",
		"--insecure --tls-ca x":                "choose one",
		"--bucket=":                            "1 to 255 bytes",
		"--tls-cert x":                         "go together",
		"--timeout 0s":                         "want 1ms",
		"--timeout 25h":                        "want 1ms",
		"--bucket " + strings.Repeat("b", 256): "at most 255",
	} {
		c, fs := clientFlags()
		require.NoError(t, fs.Parse(strings.Fields(args)), args)
		require.ErrorContains(t, c.Validate(fs), says, args)
	}
	for args, says := range map[string]string{"-o=xml": "table or json", "--durability=most": "majority or all", "--consistency=bounded:0": "at least"} {
		_, fs := clientFlags()
		require.ErrorContains(t, fs.Parse([]string{args}), says)
	}
}

func TestServeDerivesAddresses(t *testing.T) {
	for args, want := range map[string][4]string{
		"":                                {"127.0.0.1:6700", "127.0.0.1:6701", "127.0.0.1:6702", "127.0.0.1:6703"},
		"--insecure --listen [::1]:10":    {"[::1]:10", "[::1]:11", "[::1]:12", "[::1]:13"},
		"--insecure --listen localhost:0": {"localhost:0", "localhost:0", "localhost:0", "localhost:0"},
		"--insecure --listen 127.0.0.1:0 --peer-listen 127.0.0.2:9":         {"127.0.0.1:0", "127.0.0.2:9", "127.0.0.1:0", "127.0.0.1:0"},
		"--insecure --gossip-listen 127.0.0.1:1 --admin-listen 127.0.0.1:2": {"127.0.0.1:6700", "127.0.0.1:6701", "127.0.0.1:1", "127.0.0.1:2"},
	} {
		s, fs := serveFlags()
		require.NoError(t, fs.Parse(strings.Fields(args)))
		require.NoError(t, s.Validate(fs), args)
		require.True(t, s.Insecure)
		require.Equal(t, want, [4]string{s.Listen, s.PeerListen, s.GossipListen, s.AdminListen}, args)
	}
}

func TestServeOffLoopbackNeedsKeys(t *testing.T) {
	key := write(t, strings.Repeat("ab", 32)+"\n")
	s, fs := serveFlags()
	require.NoError(t, fs.Parse(strings.Fields("--region eu --listen 10.0.0.1:1 --join 10.0.0.2:1,us.example.org:1 --tls-ca a --tls-cert b --tls-key c --gossip-key-file "+key)))
	require.NoError(t, s.Validate(fs))
	require.False(t, s.Insecure)
	require.Len(t, s.GossipKey, 32)
}

func TestServeRefuses(t *testing.T) {
	tls := " --tls-ca a --tls-cert b --tls-key c"
	short := write(t, "abcd")
	for args, says := range map[string]string{
		"--listen x":                    "HOST:PORT",
		"--listen 127.0.0.1:65534":      "past the last one",
		"--peer-listen x":               "HOST:PORT",
		"--peer-listen 127.0.0.1:6700":  "give each its own port",
		"--listen :6700":                "--advertise HOST",
		"--gossip-listen 0.0.0.0:1":     "--gossip-listen 0.0.0.0:1 is every interface",
		"--advertise 0.0.0.0":           "others can dial",
		"--advertise [::]":              "others can dial",
		"--advertise example.org:0":     "can be dialled",
		"--advertise example.org:x":     "want a port",
		"--peer-advertise x":            "HOST:PORT",
		"--region eu --join x":          "HOST:PORT",
		"--region eu --join 127.0.0.1:": "want a port",
		"--join 127.0.0.1:1 --insecure": "--join needs --region",
		"--region eu --join " + strings.Repeat("127.0.0.1:1,", 256) + "127.0.0.1:1": "at most 256",
		"--region EU":                         "region name",
		"--region=":                           "region name",
		"--region " + strings.Repeat("a", 65): "region name",
		"--gone local":                        "that is this region",
		"--gone A":                            "region name",
		"--data=":                             "want a folder",
		"--log-limit 64MiB":                   "--log-limit 64MiB: want 0, or at least --log-size 1GiB",
		"--log-size 1KiB":                     "--log-size 1KiB: want 64MiB",
		"--leaf-cache-size 2TiB":              "--leaf-cache-size",
		"--log-age 721h":                      "--log-age",
		"--max-skew 1ms":                      "--max-skew",
		"--insecure --listen 10.0.0.1:1":      "loopback only",
		"--insecure --region eu --join 10.0.0.1:1": "--join 10.0.0.1:1 is not",
		"--insecure" + tls:                         "choose one",
		"--listen 127.0.0.1:1":                     "needs --tls-ca",
		"--insecure=false":                         "needs --tls-ca",
		"--tls-cert b --tls-key c":                 "needs --tls-ca",
		"--tls-ca a --tls-cert b":                  "go together",
		"--listen 10.0.0.1:1" + tls:                "--gossip-key-file",
		"--gossip-key-file /no/such/file":          "no such file",
		"--gossip-key-file " + short:               "hex digits",
	} {
		s, fs := serveFlags()
		require.NoError(t, fs.Parse(strings.Fields(args)), args)
		err := s.Validate(fs)
		require.ErrorContains(t, err, says, args)
		require.ErrorIs(t, err, kv.ErrInvalid, args)
	}
}

func TestAdvertised(t *testing.T) {
	bound := kv.Addresses{Client: "0.0.0.0:6700", Peer: "0.0.0.0:6701", Gossip: "0.0.0.0:6702", Admin: "0.0.0.0:6703"}
	for _, c := range []struct {
		s    Serve
		want kv.Addresses
	}{
		{Serve{}, bound},
		{Serve{Advertise: "db"}, kv.Addresses{Client: "db:6700", Peer: "db:6701", Gossip: "db:6702", Admin: "db:6703"}},
		{Serve{Advertise: "::1"}, kv.Addresses{Client: "[::1]:6700", Peer: "[::1]:6701", Gossip: "[::1]:6702", Admin: "[::1]:6703"}},
		{Serve{Advertise: "[::1]"}, kv.Addresses{Client: "[::1]:6700", Peer: "[::1]:6701", Gossip: "[::1]:6702", Admin: "[::1]:6703"}},
		{Serve{Advertise: "db:10", GossipAdvertise: "g:1"}, kv.Addresses{Client: "db:10", Peer: "db:11", Gossip: "g:1", Admin: "db:13"}},
		{Serve{PeerAdvertise: "p:1"}, kv.Addresses{Client: "0.0.0.0:6700", Peer: "p:1", Gossip: "0.0.0.0:6702", Admin: "0.0.0.0:6703"}},
	} {
		got, err := c.s.Advertised(bound)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	for _, s := range []Serve{{Advertise: "db:65534"}, {Advertise: "db:x"}} {
		_, err := s.Advertised(bound)
		require.Error(t, err)
	}
	_, err := (&Serve{Advertise: "db"}).Advertised(kv.Addresses{})
	require.Error(t, err)
	require.Equal(t, "theriac ready region=eu clients=a peers=b gossip=c admin=d\n",
		ReadyLine("eu", kv.Addresses{Client: "a", Peer: "b", Gossip: "c", Admin: "d"}))
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{"0": 0, "1048576": 1 << 20, "64MiB": 64 << 20, "4GiB": 4 << 30, "3KiB": 3 << 10, "2TiB": 2 << 40} {
		var b Bytes
		require.NoError(t, b.Set(text))
		require.Equal(t, want, b)
		var again Bytes
		require.NoError(t, again.Set(b.String()))
		require.Equal(t, b, again)
	}
	for _, text := range []string{"", "x", "-1", "1MB", "1.5GiB", "9999999999TiB", "MiB"} {
		require.Error(t, new(Bytes).Set(text), text)
	}
}

func TestTLSFiles(t *testing.T) {
	junk := write(t, "junk")
	for _, f := range []TLS{{CA: "/no/such"}, {CA: junk}, {Cert: "/no/such", Key: junk}, {Cert: junk, Key: "/no/such"}, {Cert: junk, Key: junk}} {
		_, err := f.Dialer()
		require.ErrorIs(t, err, kv.ErrInvalid)
		_, err = f.Listener(true)
		require.ErrorIs(t, err, kv.ErrInvalid)
	}
	c, err := TLS{}.Dialer()
	require.NoError(t, err)
	require.Nil(t, c.RootCAs, "the system's authorities")
}
