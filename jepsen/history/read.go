package history

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// MaxLine is how long a line may be, in bytes.
const MaxLine = 64 << 20

// line is what stands in one line after the header.
type line struct {
	Txn   *Txn   `json:"txn,omitempty"`
	Fault *Fault `json:"fault,omitempty"`
}

// ReadFile reads the history in a file. Errors name file and line.
func ReadFile(name string) (*History, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	defer f.Close()
	h, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return h, nil
}

// Read reads a whole history and makes sure that its invariants hold. An error names the line, or the
// transaction, and what is wrong with it.
func Read(r io.Reader) (*History, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	h := new(History)
	var lines []int // of the transactions
	for n := 1; ; n++ {
		text, err := readLine(in)
		if err == io.EOF {
			if n == 1 {
				return nil, errors.New("history: the file is empty")
			}
			return h, h.complete(lines)
		}
		if err == nil {
			err = h.take(n, text)
		}
		if len(lines) < len(h.Txns) {
			lines = append(lines, n)
		}
		if err != nil {
			return nil, fmt.Errorf("history: line %d: %w", n, err)
		}
	}
}

// readLine returns the next line without its end, or io.EOF.
func readLine(in *bufio.Reader) ([]byte, error) {
	var text []byte
	for {
		part, err := in.ReadSlice('\n')
		text = append(text, part...)
		switch {
		case len(text) > MaxLine:
			return nil, fmt.Errorf("longer than %d bytes", MaxLine)
		case err == nil:
			return text[:len(text)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF && len(text) > 0:
			return nil, errors.New("it is cut off: no line feed ends it; delete this line to check what is before it")
		default:
			return nil, err
		}
	}
}

// take takes the n-th line in.
func (h *History) take(n int, text []byte) error {
	if n == 1 {
		return h.takeHeader(text)
	}
	var l line
	if err := decode(text, &l); err != nil {
		return err
	}
	switch {
	case l.Txn != nil && l.Fault == nil:
		h.Txns = append(h.Txns, *l.Txn)
	case l.Fault != nil && l.Txn == nil:
		h.Faults = append(h.Faults, *l.Fault)
		return h.checkFault(l.Fault)
	default:
		return errors.New(`neither {"txn":...} nor {"fault":...}`)
	}
	return h.checkTxn(l.Txn)
}

func (h *History) takeHeader(text []byte) error {
	var version struct {
		History int `json:"history"`
	}
	if err := json.Unmarshal(text, &version); err != nil || version.History == 0 {
		return errors.New(`no header: a history begins with {"history":2,...}`)
	}
	if version.History != Version {
		return fmt.Errorf("format %d: this program reads format %d", version.History, Version)
	}
	if err := decode(text, &h.Header); err != nil {
		return err
	}
	return h.Header.check()
}

// decode takes one JSON object and nothing else.
func decode(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return fmt.Errorf("malformed: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("malformed: more than one object")
	}
	return nil
}

// complete puts what was read into order and checks what no line alone can show. lines: those of the
// transactions, if they have been read.
func (h *History) complete(lines []int) error {
	if err := h.checkIDs(lines); err != nil {
		return err
	}
	slices.SortStableFunc(h.Faults, func(a, b Fault) int { return cmp.Compare(a.Start, b.Start) })
	if err := h.apart("process", func(t *Txn) int { return t.Process }, true); err != nil {
		return err
	}
	return h.apart("session", func(t *Txn) int { return t.Session }, false)
}

// checkIDs sorts the transactions by their ids, which are at least 1, and makes sure that they are 1 to their number.
func (h *History) checkIDs(lines []int) error {
	order := make([]int, len(h.Txns))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return h.Txns[a].ID - h.Txns[b].ID })
	sorted := slices.Grow(h.Txns[:0:0], len(h.Txns))
	for i, at := range order {
		sorted = append(sorted, h.Txns[at])
		switch id := sorted[i].ID; {
		case id <= i:
			return fmt.Errorf("history: %stwo transactions have the id %d", naming(lines, order[i-1:i+1]...), id)
		case id > i+1:
			return fmt.Errorf("history: %sthere is no transaction %d, but there is %d: ids are 1 to the number of transactions; some may be missing",
				naming(lines, at), i+1, id)
		}
	}
	h.Txns = sorted
	return nil
}

// naming names the lines of transactions, if they have been read.
func naming(lines []int, txns ...int) string {
	switch {
	case lines == nil:
		return ""
	case len(txns) == 1:
		return fmt.Sprintf("line %d: ", lines[txns[0]])
	}
	return fmt.Sprintf("lines %d and %d: ", lines[txns[0]], lines[txns[1]])
}
