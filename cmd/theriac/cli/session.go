package cli

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/theriac-db/theriac/kv"
)

// sessionFile is the path of the file that keeps a session's token: one line, the token's text form. Empty:
// no session is kept.
type sessionFile string

// maxSession bounds a session's file, in bytes: a token names at most 1,024 regions.
const maxSession = 64 << 10

// read is the token in the file; a file that is not there is a session that has seen nothing.
func (f sessionFile) read() (kv.Token, error) {
	if f == "" {
		return kv.Token{}, nil
	}
	text, err := readUpTo(string(f), maxSession)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return kv.Token{}, nil
	case err != nil:
		return kv.Token{}, kv.Errorf(kv.KindInvalid, "--session: %w", err)
	}
	var t kv.Token
	if err := t.UnmarshalText([]byte(strings.TrimSpace(string(text)))); err != nil {
		return kv.Token{}, kv.Errorf(kv.KindInvalid, "--session %s holds no token; remove it to begin a new session: %w", f, err)
	}
	return t, nil
}

// openSession finds the file that a name means, through symbolic links, and makes sure that write can
// replace it, while nothing is lost by refusing. Nothing but a file keeps what was written to it.
func openSession(name string) (sessionFile, error) {
	if name == "" {
		return "", nil
	}
	at, err := resolve(name)
	if err != nil {
		return "", kv.Errorf(kv.KindInvalid, "--session %w", err)
	}
	if other, err := special(at); err != nil {
		return "", kv.Errorf(kv.KindInvalid, "--session: %w", err)
	} else if other {
		return "", kv.Errorf(kv.KindInvalid, "--session %s is not a regular file: it can't keep a session", name)
	}
	trial, err := newBeside(at)
	if err == nil {
		err = errors.Join(trial.Close(), os.Remove(trial.Name()))
	}
	if err != nil {
		return "", kv.Errorf(kv.KindInvalid, "--session %s can't be kept: %w", name, err)
	}
	return sessionFile(at), nil
}

// readUpTo reads a whole file of at most limit bytes.
func readUpTo(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = kv.Errorf(kv.KindTooLarge, "%s is larger than %d bytes", name, limit)
	}
	return text, err
}

// write replaces the file's token by its join with t. Commands that share a session may run at the
// same time, so what is there now counts too, and a lock on the folder keeps two from joining at once.
func (f sessionFile) write(t kv.Token) error {
	unlock, err := lockFolder(filepath.Dir(string(f)))
	if err != nil {
		return kv.Errorf(kv.KindInvalid, "--session %s: %w", f, err)
	}
	defer unlock()
	now, err := f.read()
	if err != nil {
		return err
	}
	joined, err := now.Join(t)
	if err != nil {
		return err
	}
	if err := replaceFile(string(f), []byte(joined.String()+"\n")); err != nil {
		return kv.Errorf(kv.KindInvalid, "--session %s: %w", f, err)
	}
	return nil
}
