package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/nemesis"
)

// namespaces is the network of network namespaces: one a region, joined by a bridge in one of its own (so that no
// firewall of the machine has a say), which this process reaches by one more link. nftables drops in the
// namespace of the receiver what comes from the sender of a bad link. Addresses are of 198.18.0.0/15, which RFC
// 2544 sets aside for such tests, so the nodes speak TLS.
//
//	eu 198.18.x.1 --veth--+
//	us 198.18.x.2 --veth--+-- bridge, namespace theriac-PID-hub --veth-- this process 198.18.x.254
type namespaces struct {
	subnet string // "198.18.x."
	secret *secrets

	mu      sync.Mutex
	regions []string // by number - 1
	made    []string // namespaces
	bad     map[nemesis.Link]*rules
}

// rules is what is wrong with a link.
type rules struct {
	cut, stalled, mute, reset bool
	weather                   nemesis.Weather
}

// Ports of the nodes; each has an address of its own.
const (
	clientPort = "6700"
	gossipPort = "6702"
	adminPort  = "6703"
)

// mayNamespace says whether this process can make network namespaces, and if not what to do.
func mayNamespace() error {
	return mayNamespaceOn(runtime.GOOS, os.Geteuid(), exec.LookPath)
}

func mayNamespaceOn(system string, user int, look func(string) (string, error)) error {
	if system != "linux" {
		return errors.New("cluster: network namespaces need Linux: leave out --namespaces")
	}
	if user != 0 {
		return errors.New("cluster: network namespaces need root: run as root, or leave out --namespaces")
	}
	for _, tool := range []struct{ name, from string }{{"ip", "iproute2"}, {"nft", "nftables"}} {
		if _, err := look(tool.name); err != nil {
			return fmt.Errorf("cluster: network namespaces need the command %s, which is missing: install it (on Debian: apt install %s), or leave out --namespaces", tool.name, tool.from)
		}
	}
	return nil
}

func newNamespaces(dir string) (*namespaces, error) {
	if err := mayNamespace(); err != nil {
		return nil, err
	}
	removeLeft()
	n := &namespaces{subnet: fmt.Sprintf("198.%d.%d.", 18+rand.N(2), rand.N(256)), bad: map[nemesis.Link]*rules{}}
	var err error
	if n.secret, err = newSecrets(dir, n.address); err != nil {
		return nil, err
	}
	if err := n.makeHub(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// hubNumber is this process's in the subnet.
const hubNumber = 254

func (n *namespaces) address(number int) string { return n.subnet + strconv.Itoa(number) }

// prefix begins the names of this process's namespaces.
func prefix(pid int) string { return fmt.Sprintf("theriac-%d-", pid) }

// link is this process's end of its link to the bridge.
func linkName() string { return fmt.Sprintf("tj%d", os.Getpid()) }

func (n *namespaces) makeHub() error {
	hub := prefix(os.Getpid()) + "hub"
	if err := run("ip", "netns", "add", hub); err != nil {
		return err
	}
	n.made = append(n.made, hub)
	return all(
		[]string{"ip", "-n", hub, "link", "add", "bridge", "type", "bridge"},
		[]string{"ip", "-n", hub, "link", "set", "bridge", "up"},
		[]string{"ip", "link", "add", linkName(), "type", "veth", "peer", "name", "out", "netns", hub},
		[]string{"ip", "-n", hub, "link", "set", "out", "master", "bridge", "up"},
		[]string{"ip", "addr", "add", n.address(hubNumber) + "/24", "dev", linkName()},
		[]string{"ip", "link", "set", linkName(), "up"},
	)
}

// place implements network.
func (n *namespaces) place(region string) (place, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.regions = append(n.regions, region)
	number := len(n.regions)
	hub, own, port := prefix(os.Getpid())+"hub", n.namespace(number), fmt.Sprintf("r%d", number)
	if err := run("ip", "netns", "add", own); err != nil {
		return place{}, err
	}
	n.made = append(n.made, own)
	err := all(
		[]string{"ip", "-n", hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", own},
		[]string{"ip", "-n", hub, "link", "set", port, "master", "bridge", "up"},
		[]string{"ip", "-n", own, "addr", "add", n.address(number) + "/24", "dev", "eth0"},
		[]string{"ip", "-n", own, "link", "set", "lo", "up"},
		[]string{"ip", "-n", own, "link", "set", "eth0", "up"},
	)
	if err == nil {
		err = n.filter(number, "")
	}
	at := n.address(number)
	return place{
		prefix: []string{"ip", "netns", "exec", own},
		flags:  append([]string{"--listen", net.JoinHostPort(at, clientPort)}, n.secret.flags()...),
		client: net.JoinHostPort(at, clientPort), joins: net.JoinHostPort(at, clientPort), admin: net.JoinHostPort(at, adminPort),
	}, err
}

func (n *namespaces) namespace(number int) string {
	return prefix(os.Getpid()) + strconv.Itoa(number)
}

func (n *namespaces) options() []client.Option {
	return []client.Option{client.WithTLS(n.secret.dialer())}
}

func (n *namespaces) admin() (*http.Client, bool) {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: n.secret.dialer(), DisableKeepAlives: true}}, true
}

// close removes the namespaces, and with them their links.
func (n *namespaces) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, name := range slices.Backward(n.made) {
		errs = append(errs, run("ip", "netns", "del", name))
	}
	if n.made = nil; exists(linkName()) {
		_ = run("ip", "link", "del", linkName()) // the kernel may have been quicker
	}
	return errors.Join(errs...)
}

func exists(link string) bool {
	_, err := net.InterfaceByName(link)
	return err == nil
}

// filter replaces what the namespace of a region drops.
func (n *namespaces) filter(number int, rules string) error {
	var script strings.Builder
	script.WriteString("add table inet jepsen\nadd chain inet jepsen in { type filter hook input priority 0; }\n")
	for from := range n.regions {
		for name := range counters { // those that are there keep their counts
			fmt.Fprintf(&script, "add counter inet jepsen %s%d\n", name, from+1)
		}
	}
	script.WriteString("flush chain inet jepsen in\n" + rules)
	return feed(script.String(), "ip", "netns", "exec", n.namespace(number), "nft", "-f", "-")
}

// change changes a link and has the receiver's namespace act on it.
func (n *namespaces) change(l nemesis.Link, do func(r *rules)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bad[l] == nil {
		n.bad[l] = &rules{}
	}
	do(n.bad[l])
	var text strings.Builder
	for i, from := range n.regions {
		if r := n.bad[nemesis.Link{From: from, To: l.To}]; r != nil {
			r.write(&text, i+1, n.address(i+1))
		}
	}
	return n.filter(slices.Index(n.regions, l.To)+1, text.String())
}

// window is what a connection has under way on a slow link, in bytes: by it a delay becomes a rate.
const window = 64 << 10

// The counters of a link are named after what they count, and the number of the region that it comes from.
const (
	dropCounter   = "drop"
	resetCounter  = "reset"
	gossipCounter = "gossip"
	loseCounter   = "lose"
)

// counters are the names of counters, and of the effects that they count.
var counters = map[string]string{
	dropCounter: nemesis.PacketsDropped, resetCounter: nemesis.PacketsReset, gossipCounter: nemesis.GossipDropped, loseCounter: nemesis.PacketsLost,
}

// leastLoss is the share of packets that a slow link loses at least, in thousandths: what nodes send may be less
// than what it lets through.
const leastLoss = 10

// write writes the rules for what comes from a region.
func (r *rules) write(to *strings.Builder, number int, address string) {
	rule := func(what, counter, verdict string) {
		fmt.Fprintf(to, "add rule inet jepsen in ip saddr %s %s counter name %s%d %s\n", address, what, counter, number, verdict)
	}
	if r.cut || r.stalled {
		rule("meta l4proto tcp", dropCounter, "drop")
		rule("", gossipCounter, "drop")
	}
	if r.reset {
		rule("meta l4proto tcp", resetCounter, "reject with tcp reset")
	}
	if r.mute {
		rule("meta l4proto { tcp, udp } th dport "+gossipPort, gossipCounter, "drop")
	}
	if r.weather != (nemesis.Weather{}) {
		rule(fmt.Sprintf("numgen random mod 1000 < %d", max(leastLoss, int(r.weather.Loss*1000))), loseCounter, "drop")
	}
	if rate := rateOf(r.weather); rate > 0 {
		rule(fmt.Sprintf("limit rate over %d bytes/second burst %d bytes", rate, window), loseCounter, "drop")
	}
}

// effects implements network.
func (n *namespaces) effects(links []nemesis.Link) (nemesis.Effects, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	sum := nemesis.Effects{}
	read := map[string]map[string]int{} // by receiver
	for _, l := range links {
		if read[l.To] == nil {
			var err error
			if read[l.To], err = n.counted(slices.Index(n.regions, l.To) + 1); err != nil {
				return nil, err
			}
		}
		from := strconv.Itoa(slices.Index(n.regions, l.From) + 1)
		for name, effect := range counters {
			sum[effect] += read[l.To][name+from]
		}
	}
	return sum, nil
}

// counted are the packets that each counter of a region's namespace has seen.
func (n *namespaces) counted(number int) (map[string]int, error) {
	listed, err := output("", "ip", "netns", "exec", n.namespace(number), "nft", "-j", "list", "counters", "table", "inet", "jepsen")
	if err != nil {
		return nil, err
	}
	return readCounters(listed)
}

// readCounters reads what nft lists.
func readCounters(listed []byte) (map[string]int, error) {
	var list struct {
		Objects []struct {
			Counter struct {
				Name    string
				Packets int
			}
		} `json:"nftables"`
	}
	if err := json.Unmarshal(listed, &list); err != nil {
		return nil, fmt.Errorf("cluster: the counters that nft lists: %w", err)
	}
	packets := map[string]int{}
	for _, o := range list.Objects {
		packets[o.Counter.Name] = o.Counter.Packets
	}
	return packets, nil
}

// rateOf is the rate of a slow link: nftables drops and can't delay, so a delay is the rate that it would leave
// to one connection.
func rateOf(w nemesis.Weather) int {
	if delay := w.Delay + w.Jitter/2; delay > 0 {
		slow := int(window / delay.Seconds())
		if w.Rate == 0 || slow < w.Rate {
			return slow
		}
	}
	return w.Rate
}

// Cut implements nemesis.Cutter.
func (n *namespaces) Cut(_ context.Context, l nemesis.Link) error {
	return n.change(l, func(r *rules) { r.cut = true })
}

// Heal implements nemesis.Cutter.
func (n *namespaces) Heal(_ context.Context, l nemesis.Link) error {
	return n.change(l, func(r *rules) { r.cut = false })
}

// Slow implements nemesis.Slower.
func (n *namespaces) Slow(_ context.Context, l nemesis.Link, w nemesis.Weather) error {
	return n.change(l, func(r *rules) { r.weather = w })
}

// Stall implements nemesis.Staller: what TCP does not get through it sends again.
func (n *namespaces) Stall(_ context.Context, l nemesis.Link) error {
	return n.change(l, func(r *rules) { r.stalled = true })
}

// Flow implements nemesis.Staller.
func (n *namespaces) Flow(_ context.Context, l nemesis.Link) error {
	return n.change(l, func(r *rules) { r.stalled = false })
}

// resetFor is how long packets are answered by resets: nodes send several in that time.
const resetFor = 500 * time.Millisecond

// Reset implements nemesis.Resetter.
func (n *namespaces) Reset(ctx context.Context, l nemesis.Link) error {
	err := n.change(l, func(r *rules) { r.reset = true })
	select {
	case <-time.After(resetFor):
	case <-ctx.Done():
	}
	return errors.Join(err, n.change(l, func(r *rules) { r.reset = false }))
}

// DropGossip implements nemesis.GossipDropper.
func (n *namespaces) DropGossip(_ context.Context, l nemesis.Link) error {
	return n.change(l, func(r *rules) { r.mute = true })
}

// PassGossip implements nemesis.GossipDropper.
func (n *namespaces) PassGossip(_ context.Context, l nemesis.Link) error {
	return n.change(l, func(r *rules) { r.mute = false })
}

// removeLeft removes the namespaces of processes that were killed before they could.
func removeLeft() {
	entries, err := os.ReadDir("/run/netns")
	if err != nil {
		return // there never was one
	}
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), "theriac-")
		text, _, whole := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(text)
		if !ours || !whole || err != nil {
			continue
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); os.IsNotExist(err) {
			_ = run("ip", "netns", "del", e.Name()) // another cluster may have been quicker
		}
	}
}

// all runs commands until one fails.
func all(commands ...[]string) error {
	for _, c := range commands {
		if err := run(c...); err != nil {
			return err
		}
	}
	return nil
}

func run(command ...string) error { return feed("", command...) }

// feed runs a command with an input; its error says what it printed.
func feed(input string, command ...string) error {
	_, err := output(input, command...)
	return err
}

// output is feed, and returns what the command printed.
func output(input string, command ...string) ([]byte, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("cluster: %s: %w: %s", strings.Join(command, " "), err, bytes.TrimSpace(out))
	}
	return out, nil
}
