package docs

import (
	"fmt"
	"slices"
	"strings"
)

// Block is one fenced block of a page.
type Block struct {
	File     string
	Line     int    // of the opening fence, from 1
	Language string // first word behind the fence
	Mark     string // run, serve, ci, output; empty for languages that need none
	Text     string
}

func (b Block) String() string {
	return fmt.Sprintf("%s:%d: %s %s", b.File, b.Line, b.Language, b.Mark)
}

// marks are those that a language allows. A language that is not listed takes any.
var marks = map[string][]string{"sh": {"run", "serve", "ci"}, "go": {"run"}, "bash": nil, "shell": nil}

const fence = "```"

// Blocks reads the fenced blocks of a page and checks their marks (invariant 1).
func Blocks(file, page string) ([]Block, error) {
	var blocks []Block
	var open *Block
	for n, line := range strings.Split(page, "\n") {
		info, isFence := strings.CutPrefix(strings.TrimSpace(line), fence)
		switch {
		case isFence && open == nil:
			open = &Block{File: file, Line: n + 1}
			if err := open.describe(info); err != nil {
				return nil, err
			}
		case isFence:
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.Text += line + "\n"
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s: the block has no end", open)
	}
	return blocks, nil
}

// describe reads what stands behind the opening fence.
func (b *Block) describe(info string) error {
	words := strings.Fields(info)
	if len(words) > 0 {
		b.Language = words[0]
	}
	if len(words) > 1 {
		b.Mark = words[1]
	}
	allowed, strict := marks[b.Language]
	if strict && !slices.Contains(allowed, b.Mark) || len(words) > 2 {
		return fmt.Errorf("%s: the mark must be one of %v (see package docs)", b, allowed)
	}
	return nil
}

// Matches reports whether got holds the lines of want in their order; see the package comment for
// what ... means. It returns the first line that is missing.
func Matches(want, got string) (missing string, ok bool) {
	lines := strings.Split(got, "\n")
	for _, w := range strings.Split(strings.TrimSpace(want), "\n") {
		if strings.TrimSpace(w) == "..." {
			continue
		}
		at := slices.IndexFunc(lines, func(l string) bool { return sameLine(w, l) })
		if at < 0 {
			return w, false
		}
		lines = lines[at+1:]
	}
	return "", true
}

func sameLine(want, got string) bool {
	start, open := strings.CutSuffix(strings.TrimSpace(want), "...")
	got = strings.TrimSpace(got)
	return got == start || open && strings.HasPrefix(got, strings.TrimSpace(start))
}
