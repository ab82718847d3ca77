package cli

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"github.com/theriac-db/theriac/cmd/theriac/jsonl"
	"github.com/theriac-db/theriac/kv"
)

// lineReader reads lines and sums them up.
type lineReader struct {
	in       *bufio.Reader
	progress *progress
	count    int64 // lines read
	last     []byte
	whole    hash.Hash
	sums     map[int64]string // of all lines up to a number: of the last two numbers
}

// newLineReader reads lines that all go into one bucket, or, where that is empty, into those they name. The
// same lines for another bucket have another sum.
func newLineReader(in io.Reader, into string, p *progress) *lineReader {
	l := &lineReader{in: bufio.NewReaderSize(in, outBuffer), progress: p, whole: sha256.New(), sums: map[int64]string{}}
	if into != "" {
		l.whole.Write([]byte("into " + into + "\n"))
	}
	l.sums[0] = hex.EncodeToString(l.whole.Sum(nil))
	return l
}

// read takes the next line, without its end. io.EOF comes behind the last one.
func (l *lineReader) read() ([]byte, error) {
	line, err := l.raw()
	if err != nil {
		return nil, err
	}
	l.count++
	l.last = line
	l.whole.Write(line)
	l.whole.Write([]byte{'\n'})
	l.sums[l.count] = hex.EncodeToString(l.whole.Sum(nil))
	delete(l.sums, l.count-2)
	l.progress.add(len(line) + 1)
	return line, nil
}

// raw reads a line of bounded length. It is never nil without an error.
func (l *lineReader) raw() ([]byte, error) {
	line := []byte{}
	for {
		part, err := l.in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > jsonl.MaxLine:
			return nil, kv.Errorf(kv.KindTooLarge, "line %d: more than %d bytes", l.count+1, jsonl.MaxLine)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, kv.Errorf(kv.KindInvalid, "reading line %d: %w", l.count+1, err)
		}
		return trimEnd(line), nil
	}
}

func trimEnd(line []byte) []byte {
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	return line
}

// sum goes with a position: that of all whole lines, and behind a colon that of the line which is
// written in part.
func (l *lineReader) sum(at position) string {
	if at.ops == 0 {
		return l.sums[at.lines]
	}
	return l.sums[at.lines] + ":" + l.lastSum()
}

func (l *lineReader) lastSum() string {
	sum := sha256.Sum256(l.last)
	return hex.EncodeToString(sum[:])
}
