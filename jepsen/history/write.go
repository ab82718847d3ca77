package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Writer writes a history line by line. It is safe for concurrent use. After an error it writes
// nothing more, and returns the error at every call.
type Writer struct {
	mu  sync.Mutex
	buf *bufio.Writer
	out *json.Encoder
	err error
}

// NewWriter begins a history with its header, whose Version it sets.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	h.Version = Version
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	buf := bufio.NewWriterSize(w, 1<<16)
	out := &Writer{buf: buf, out: json.NewEncoder(buf)}
	out.out.SetEscapeHTML(false)
	out.write(h)
	return out, out.Flush()
}

// Txn writes a transaction.
func (w *Writer) Txn(t *Txn) error { return w.write(line{Txn: t}) }

// Fault writes a fault.
func (w *Writer) Fault(f *Fault) error { return w.write(line{Fault: f}) }

// Flush hands all that was written to the underlying writer.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.keep(w.buf.Flush())
	}
	return w.err
}

func (w *Writer) write(v any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.keep(w.out.Encode(v))
	}
	return w.err
}

func (w *Writer) keep(err error) {
	if err != nil {
		w.err = fmt.Errorf("history: writing: %w", err)
	}
}

// Write writes a whole history.
func (h *History) Write(to io.Writer) error {
	w, err := NewWriter(to, h.Header)
	if err != nil {
		return err
	}
	for i := range h.Txns {
		w.Txn(&h.Txns[i]) // the first error stays
	}
	for i := range h.Faults {
		w.Fault(&h.Faults[i])
	}
	return w.Flush()
}
