package causal

import (
	"math/bits"
	"slices"
)

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

func (b *block) join(owner int32, o *block) *block {
	for i, p := range o.pages {
		if p == nil || p == b.pages[i] {
			continue
		}
		if joined := b.pages[i].join(owner, p); joined != b.pages[i] {
			b = b.own(owner)
			b.pages[i] = joined
		}
	}
	return b
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

// chainSet is a set of chains: a word for each page.
type chainSet []uint32

func (s chainSet) add(chain int32) chainSet {
	for int(chain>>pageBits) >= len(s) {
		s = append(s, 0)
	}
	s[chain>>pageBits] |= 1 << (chain & (1<<pageBits - 1))
	return s
}

// since calls f for each chain of a set of which c has seen more than any of olds.
func (c clock) since(olds []clock, set chainSet, f func(chain int32)) {
	blocks := make([]*block, len(olds))
	for i, b := range c {
		for j, o := range olds {
			if blocks[j] = nil; i < len(o) {
				blocks[j] = o[i]
			}
		}
		if from := i << blockBits; b != nil && from < len(set) && !slices.Contains(blocks, b) {
			b.since(blocks, set[from:min(len(set), from+1<<blockBits)], func(c int32) { f(int32(from)<<pageBits + c) })
		}
	}
}

func (b *block) since(olds []*block, set chainSet, f func(chain int32)) {
	pages := make([]*page, 0, len(olds))
	for i, word := range set {
		p := b.pages[i]
		if p == nil || word == 0 {
			continue
		}
		pages = pages[:0]
		for _, o := range olds {
			if o != nil && o.pages[i] != nil {
				pages = append(pages, o.pages[i])
			}
		}
		if !slices.Contains(pages, p) {
			p.since(pages, word, func(c int32) { f(int32(i)<<pageBits + c) })
		}
	}
}

func (p *page) since(olds []*page, word uint32, f func(chain int32)) {
	for ; word != 0; word &= word - 1 {
		i := bits.TrailingZeros32(word)
		n := p.at[i]
		for _, o := range olds {
			if o.at[i] >= n {
				n = 0
				break
			}
		}
		if n > 0 {
			f(int32(i))
		}
	}
}
