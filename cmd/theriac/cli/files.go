package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/theriac-db/theriac/kv"
)

// maxLinks bounds the symbolic links that are followed one after the other, as the system does.
const maxLinks = 40

// resolve follows symbolic links to the file that is meant, which need not be there yet. A new file that
// took the place of a link would leave behind what the link led to, as it was.
func resolve(name string) (string, error) {
	at := name
	for range maxLinks {
		target, err := os.Readlink(at)
		if err != nil { // it is no link, or not there
			return at, nil
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(at), target)
		}
		at = target
	}
	return "", fmt.Errorf("%s: more than %d symbolic links", name, maxLinks)
}

// special reports whether there is something other than a file: a pipe, a device, a folder. Files that
// are not there yet are none.
func special(name string) (bool, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	return !info.Mode().IsRegular(), nil
}

// toFile lets write fill a new file, which takes its name once it is complete. What is there and no file,
// such as a pipe, is written to.
func toFile(name string, write func(out *bufio.Writer) error) error {
	at, err := resolve(name)
	if err != nil {
		return kv.Errorf(kv.KindInvalid, "--file %w", err)
	}
	if direct, err := special(at); err != nil {
		return kv.Errorf(kv.KindInvalid, "--file: %w", err)
	} else if direct {
		return toSpecial(at, write)
	}
	f, err := newBeside(at)
	if err != nil {
		return kv.Errorf(kv.KindInvalid, "--file %s: %w", name, err)
	}
	return fillNew(f, at, func(w io.Writer) error { return buffered(w, write) })
}

// toSpecial writes to what is there.
func toSpecial(name string, write func(out *bufio.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return kv.Errorf(kv.KindInvalid, "--file: %w", err)
	}
	return errors.Join(buffered(f, write), f.Close())
}

func buffered(w io.Writer, write func(out *bufio.Writer) error) error {
	out := bufio.NewWriterSize(w, outBuffer)
	if err := write(out); err != nil {
		return err
	}
	return out.Flush()
}

// replaceFile writes a file whole or not at all. A token is no secret, but names what its owner may
// have seen: others need not read it.
func replaceFile(name string, text []byte) error {
	f, err := newBeside(name)
	if err != nil {
		return err
	}
	return fillNew(f, name, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// newBeside makes an empty file, readable by its owner only, in the folder of another.
func newBeside(name string) (*os.File, error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	var path *fs.PathError
	if errors.As(err, &path) { // which names a file that nobody asked for
		return nil, path.Err
	}
	return f, err
}

// fillNew fills a new file and gives it a name in the same folder, or removes it.
func fillNew(f *os.File, name string, write func(w io.Writer) error) error {
	err := write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
