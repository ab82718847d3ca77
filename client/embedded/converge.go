package embedded

import (
	"context"
	"fmt"

	"github.com/theriac-db/theriac/client"
)

// Converge waits until every running region includes all that each of them shows at the time of the
// call, and returns the digest of their content. It is an error if the digests differ, which they
// may while writes go on.
func (c *Cluster) Converge(ctx context.Context) (client.Digest, error) {
	var all client.Token
	for _, name := range c.running() {
		var receipt client.Receipt
		// Applied: what is about to be on disk is waited for too.
		if _, err := c.DB(name).Do(ctx, nil, nil, client.Durable(client.Applied), client.WithReceipt(&receipt)); err != nil {
			return client.Digest{}, fmt.Errorf("asking region %s: %w", name, err)
		}
		var err error
		if all, err = all.Join(receipt.Token); err != nil {
			return client.Digest{}, err
		}
	}
	var first client.Digest
	for i, name := range c.running() {
		d, err := c.DB(name).Digest(ctx, "", client.WithToken(all))
		switch {
		case err != nil:
			return client.Digest{}, fmt.Errorf("digest of region %s: %w", name, err)
		case i == 0:
			first = d
		case d.Sum != first.Sum:
			return d, fmt.Errorf("regions %s and %s have the digests %x and %x", c.running()[0], name, first.Sum, d.Sum)
		}
	}
	return first, nil
}

// running lists the regions that are up.
func (c *Cluster) running() []string {
	var out []string
	for _, name := range c.Regions() {
		if c.region(name).door.IsOpen() {
			out = append(out, name)
		}
	}
	return out
}
