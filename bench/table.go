package bench

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strings"
)

// The table in a document lies between these lines.
const (
	beginMark = "<!-- bench:begin -->"
	endMark   = "<!-- bench:end -->"
)

// Table writes the figures as Markdown, under a line that says where they were measured.
func Table(m Machine, figures []Figure) string {
	var b strings.Builder
	b.WriteString(m.String())
	b.WriteString("\n| figure | ours | limit | unit | ratio | rounds | goal | |\n| --- | ---: | ---: | --- | ---: | ---: | --- | --- |\n")
	var notes []string
	for i := range figures {
		f := &figures[i]
		fmt.Fprintf(&b, "| %s%s | %s | %s | %s | %s | %d | %s | %s |\n", cell(f.name()), footnote(&notes, f),
			number(f.Ours), number(f.Limit), cell(f.Unit), f.ratio(), f.Rounds, cell(f.Goal.String()), f.Verdict())
	}
	if len(notes) > 0 {
		b.WriteString("\n")
	}
	for i, note := range notes {
		fmt.Fprintf(&b, "%d. %s\n", i+1, note)
	}
	return b.String()
}

func (f *Figure) name() string {
	if f.Err != nil {
		return f.Benchmark
	}
	return f.What
}

// ratio is the median, with the range of the rounds where there were several.
func (f *Figure) ratio() string {
	if f.Low == f.High || f.Rounds < 2 || math.IsNaN(f.Ratio) {
		return number(f.Ratio)
	}
	return fmt.Sprintf("%s (%s to %s)", number(f.Ratio), number(f.Low), number(f.High))
}

// footnote gives the reference to a figure's note, shared by figures that have the same one.
func footnote(notes *[]string, f *Figure) string {
	note := f.Note
	if f.Err != nil {
		note = "failed: " + f.Err.Error()
	}
	if note = strings.ReplaceAll(note, "\n", " "); note == "" {
		return ""
	}
	for i, n := range *notes {
		if n == note {
			return fmt.Sprintf(" [%d]", i+1)
		}
	}
	*notes = append(*notes, note)
	return fmt.Sprintf(" [%d]", len(*notes))
}

// cell keeps text within its cell.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s)
}

// WriteTable replaces what lies between the marks of a document. A document without them is refused,
// and left as it is.
func WriteTable(path, table string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("bench: document: %w", err)
	}
	begin, end := bytes.Index(old, []byte(beginMark)), bytes.Index(old, []byte(endMark))
	if begin < 0 || end < begin {
		return fmt.Errorf("bench: %s has no lines %s and %s, in this order, to put the table between", path, beginMark, endMark)
	}
	var out bytes.Buffer
	out.Write(old[:begin+len(beginMark)])
	out.WriteString("\n\n" + strings.TrimSpace(table) + "\n\n")
	out.Write(old[end:])
	return os.WriteFile(path, out.Bytes(), 0o644)
}
