package nemesis

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Link is one direction between two regions.
type Link struct{ From, To string }

// String is the link as faults name it in a history.
func (l Link) String() string { return l.From + ">" + l.To }

// Shape is a set of links that a fault disturbs.
type Shape struct {
	Links []Link
	// Targets name what is disturbed for people: regions that are cut off, or links.
	Targets []string
	// Text draws it, as in "eu us | ap".
	Text string
}

// Halves cuts the regions into two groups, of which none is empty. It takes two regions.
func Halves(r *rand.Rand, regions []string) Shape {
	order := shuffled(r, regions)
	size := 1 + r.IntN(len(order)/2)
	if len(order) > 3 && r.IntN(2) == 0 {
		size = len(order) / 2 // a majority and a minority, or two equal halves
	}
	small, large := inOrderOf(regions, order[:size]), inOrderOf(regions, order[size:])
	return Shape{Links: between(small, large), Targets: small, Text: strings.Join(small, " ") + " | " + strings.Join(large, " ")}
}

// Isolate cuts one region off from all others. It takes two regions.
func Isolate(r *rand.Rand, regions []string) Shape {
	return alone(regions[r.IntN(len(regions))], regions)
}

// alone cuts a region off from all others.
func alone(one string, regions []string) Shape {
	others := without(regions, one)
	return Shape{Links: between([]string{one}, others), Targets: []string{one}, Text: one + " | " + strings.Join(others, " ")}
}

// Bridge cuts the regions into two groups, but for one that reaches both. It takes three regions.
func Bridge(r *rand.Rand, regions []string) Shape {
	bridge := regions[r.IntN(len(regions))]
	s := Halves(r, without(regions, bridge))
	s.Text = strings.Replace(s.Text, "|", "-"+bridge+"-", 1)
	return s
}

// Oneway cuts links in one direction: what one region sends, what one receives, or what one half of the
// regions sends to the other. It takes two regions.
func Oneway(r *rand.Rand, regions []string) Shape {
	var links []Link
	one := regions[r.IntN(len(regions))]
	switch r.IntN(3) {
	case 0:
		links = toEach([]string{one}, without(regions, one))
	case 1:
		links = toEach(without(regions, one), []string{one})
	default:
		order := shuffled(r, regions)
		half := len(order) / 2
		links = toEach(inOrderOf(regions, order[:half]), inOrderOf(regions, order[half:]))
	}
	return ofLinks(links)
}

// someLinks draws links for faults that are no partition: one link in one direction or both, all of one
// region, or all. Of gossip it is always all: a node gossips every 5 s, with one other.
func someLinks(k Kind, r *rand.Rand, regions []string) Shape {
	order := shuffled(r, regions)
	which := r.IntN(4)
	if k == Gossip {
		which = 3
	}
	switch which {
	case 0:
		return ofLinks([]Link{{order[0], order[1]}})
	case 1:
		return ofLinks(between(order[:1], order[1:2]))
	case 2:
		return Shape{Links: between(order[:1], order[1:]), Targets: order[:1], Text: "all of " + order[0]}
	}
	return Shape{Links: every(regions), Targets: slices.Clone(regions), Text: "all"}
}

func ofLinks(links []Link) Shape {
	s := Shape{Links: links}
	for _, l := range links {
		s.Targets = append(s.Targets, l.String())
	}
	s.Text = strings.Join(s.Targets, " ")
	return s
}

// shape draws the links of a kind of the network.
func shape(k Kind, r *rand.Rand, regions []string) Shape {
	switch k {
	case PartitionHalves:
		return Halves(r, regions)
	case PartitionIsolate, IsolateLeader: // whom it hits is known when it begins
		return Isolate(r, regions)
	case PartitionBridge:
		return Bridge(r, regions)
	case PartitionOneway:
		return Oneway(r, regions)
	case PartitionFlapping:
		if r.IntN(2) == 0 {
			return Isolate(r, regions)
		}
		return Halves(r, regions)
	case Slow, Stall, Reset, Gossip:
		return someLinks(k, r, regions)
	}
	panic(fmt.Sprintf("nemesis: kind %s disturbs no links", k))
}

// toEach is every link from one of a to one of b.
func toEach(a, b []string) []Link {
	var links []Link
	for _, from := range a {
		for _, to := range b {
			links = append(links, Link{from, to})
		}
	}
	return links
}

// between is every link between one of a and one of b, both ways.
func between(a, b []string) []Link { return append(toEach(a, b), toEach(b, a)...) }

// every is every link among regions.
func every(regions []string) []Link {
	var links []Link
	for _, from := range regions {
		links = append(links, toEach([]string{from}, without(regions, from))...)
	}
	return links
}

func without(regions []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(regions), func(r string) bool { return r == one })
}

func shuffled(r *rand.Rand, regions []string) []string {
	out := slices.Clone(regions)
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// inOrderOf sorts some of the regions as all of them stand.
func inOrderOf(regions, some []string) []string {
	out := slices.Clone(some)
	slices.SortFunc(out, func(a, b string) int { return slices.Index(regions, a) - slices.Index(regions, b) })
	return out
}
