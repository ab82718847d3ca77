package cluster

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/theriac-db/theriac/jepsen/nemesis"
)

// Bounds of a cluster. docs/reference/limits.md lists them.
const (
	// MaxRegions bounds the regions of a cluster, those that are added included: one loopback address each.
	MaxRegions = 64
	// StartTimeout bounds how long a node takes from its start until it serves, joining included.
	StartTimeout = time.Minute
	// StopTimeout bounds an orderly stop, which a node itself bounds by 30 s; what has not ended then is killed.
	StopTimeout = 40 * time.Second
	// MinDisk is the least size of a disk of a region's own, in bytes: a node's files before it has data.
	MinDisk = 64 << 20
)

// Options say what a cluster is made of.
type Options struct {
	// Binary is the theriac command. Required.
	Binary string
	// Dir is where data and logs go; made when missing. It must not hold regions of an earlier cluster.
	// Required.
	Dir string
	// Regions are the names of the regions, the founder first. 1 to MaxRegions.
	Regions []string
	// New are names of regions that Add may start later.
	New []string
	// Serve are further flags of theriac serve, for every node.
	Serve []string
	// TestFaults starts the nodes so that their clocks can be set, and their disks filled (--test-faults).
	TestFaults bool
	// DiskBytes gives each region a disk of its own in memory (tmpfs) of that size, which FillDisk fills
	// for real. It takes root on Linux. At least MinDisk; 0: data lies in Dir.
	DiskBytes int64
	// Namespaces puts each region into a network namespace of its own, with nftables on its links, in place
	// of proxies. It takes root on Linux, and the commands ip and nft.
	Namespaces bool
	// Log takes a line for each thing that is done to the cluster. Nil: dropped.
	Log func(format string, args ...any)
}

// DefaultDisk is the size of a disk of a region's own where Prepare gives it one, in bytes.
const DefaultDisk = 512 << 20

// Prepare settles what the nodes must be started with, for nemeses as a user names them: disks of their own to
// be filled where this process may mount them, and otherwise a hand inside the node. It fails where this process
// lacks a right.
func (o *Options) Prepare(nemeses []string) error { return o.prepare(nemeses, mayMount) }

func (o *Options) prepare(nemeses []string, mayMount func(bytes int64) error) error {
	kinds, err := nemesis.Expand(nemeses)
	if err != nil {
		return err
	}
	if o.Namespaces {
		if err := mayNamespace(); err != nil {
			return err
		}
	}
	o.TestFaults = o.TestFaults || slices.Contains(kinds, nemesis.Clock)
	if !slices.Contains(kinds, nemesis.DiskFull) {
		return nil
	}
	if o.DiskBytes == 0 && mayMount(DefaultDisk) == nil {
		o.DiskBytes = DefaultDisk
	}
	o.TestFaults = true // also with disks of their own: nodes write on in room that they have reserved
	return nil
}

var regionName = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// check settles the options.
func (o *Options) check() error {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	if info, err := os.Stat(o.Binary); err != nil || info.IsDir() {
		return fmt.Errorf("cluster: %q is no theriac command: %w", o.Binary, orNil(err, "it is a folder"))
	}
	if o.Dir == "" {
		return fmt.Errorf("cluster: no folder for data and logs")
	}
	if o.DiskBytes != 0 {
		if err := mayMount(o.DiskBytes); err != nil {
			return err
		}
	}
	all := slices.Concat(o.Regions, o.New)
	if len(o.Regions) == 0 || len(all) > MaxRegions {
		return fmt.Errorf("cluster: %d regions, and %d to add: want 1 to %d together", len(o.Regions), len(o.New), MaxRegions)
	}
	for i, name := range all {
		if !regionName.MatchString(name) {
			return fmt.Errorf("cluster: region name %q: want 1 to 64 letters a-z, digits and -", name)
		}
		if slices.Contains(all[:i], name) {
			return fmt.Errorf("cluster: region %s is named twice", name)
		}
	}
	return nil
}

// orNil is err, or an error with that text when it is nil.
func orNil(err error, text string) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%s", text)
}
