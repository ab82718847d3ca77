package causal

import "slices"

// A clock says how far into each chain a transaction has seen. Clocks of transactions that have seen
// nearly the same share the pages that are equal: with many chains, most of them ended long ago, a
// clock costs a few pages of its own, and two are compared by comparing pointers.
type clock []*block

const pageBits, blockBits = 5, 5

// block holds the pages of 1,024 chains.
type block struct {
	owner int32 // the only transaction that may change it
	pages [1 << blockBits]*page
}

type page struct {
	owner int32
	at    [1 << pageBits]int32
}

func split(chain int32) (b, p, at int32) {
	return chain >> (pageBits + blockBits), chain >> pageBits & (1<<blockBits - 1), chain & (1<<pageBits - 1)
}

// get returns how far c has seen into a chain: how many of its transactions.
func (c clock) get(chain int32) int32 {
	b, p, at := split(chain)
	if int(b) >= len(c) || c[b] == nil || c[b].pages[p] == nil {
		return 0
	}
	return c[b].pages[p].at[at]
}

// set notes for owner, whose clock c is, that it has seen a chain up to n.
func (c clock) set(owner, chain, n int32) clock {
	b, p, at := split(chain)
	for int(b) >= len(c) {
		c = append(c, nil)
	}
	c[b] = c[b].own(owner)
	c[b].pages[p] = c[b].pages[p].own(owner)
	c[b].pages[p].at[at] = n
	return c
}

// join adds to c, the clock of owner, all that o has seen.
func (c clock) join(owner int32, o clock) clock {
	if len(c) == 0 {
		return slices.Clone(o)
	}
	for len(c) < len(o) {
		c = append(c, nil)
	}
	for i, b := range o {
		switch {
		case b == nil || b == c[i]:
		case c[i] == nil:
			c[i] = b
		default:
			c[i] = c[i].join(owner, b)
		}
	}
	return c
}

// join returns o if that is all that comes of it, and of two that are equal the older one, and so do pages: that is how
// clocks come to share what they have learned in different ways.
func (b *block) join(owner int32, o *block) *block {
	own, same := b, true
	for i, p := range o.pages {
		mine := own.pages[i]
		if p == mine {
			continue
		}
		if p == nil {
			same = false
			continue
		}
		joined := mine.join(owner, p)
		same = same && joined == p
		if joined != mine {
			own = own.own(owner)
			own.pages[i] = joined
		}
	}
	if same && (own != b || o.owner < b.owner) {
		return o
	}
	return own
}

// join returns one of the two pages if it holds all of the other, so that clocks go on to share it.
func (p *page) join(owner int32, o *page) *page {
	if p == nil {
		return o
	}
	more, less := false, false
	for i, n := range o.at {
		more = more || n > p.at[i]
		less = less || n < p.at[i]
	}
	switch {
	case !more && !less && o.owner < p.owner:
		return o
	case !more:
		return p
	case !less:
		return o
	}
	p = p.own(owner)
	for i, n := range o.at {
		p.at[i] = max(p.at[i], n)
	}
	return p
}

func (b *block) own(owner int32) *block {
	switch {
	case b == nil:
		return &block{owner: owner}
	case b.owner == owner:
		return b
	}
	own := *b
	own.owner = owner
	return &own
}

func (p *page) own(owner int32) *page {
	switch {
	case p == nil:
		return &page{owner: owner}
	case p.owner == owner:
		return p
	}
	own := *p
	own.owner = owner
	return &own
}
