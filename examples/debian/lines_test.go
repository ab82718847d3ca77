package debian

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// program builds one of this folder's commands and returns its path.
func program(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	out, err := exec.Command("go", "build", "-o", file, "./"+name).CombinedOutput()
	require.NoError(t, err, string(out))
	return file
}

// output runs a command and returns what it prints.
func output(t *testing.T, program string, args ...string) string {
	t.Helper()
	command := exec.Command(program, args...)
	var messages bytes.Buffer
	command.Stderr = &messages
	out, err := command.Output()
	require.NoError(t, err, messages.String())
	return string(out)
}

// TestBothProgramsAgreeOnTheirFormats computes the digest of converter's lines, both halves summed,
// and compares it with what indexdigest makes of the index: a database is not involved.
func TestBothProgramsAgreeOnTheirFormats(t *testing.T) {
	converter, indexdigest := program(t, "converter"), program(t, "indexdigest")
	indexes := []string{"testdata/index"}
	if system := systemIndex(t); system != "" {
		indexes = append(indexes, system)
	}
	for _, index := range indexes {
		objects := map[string]json.RawMessage{}
		for _, part := range []string{"1/2", "2/2"} {
			load(t, objects, output(t, converter, "--limit", "3000", "--part", part, index))
		}
		want := output(t, indexdigest, "--limit", "3000", index)
		require.Equal(t, want, fmt.Sprintf("%s %d\n", digest(t, objects), len(objects)), index)
	}
}

// systemIndex writes the index of this machine to a file; "" where it has none.
func systemIndex(t *testing.T) string {
	out, err := exec.Command("apt-cache", "dumpavail").Output()
	if err != nil || len(bytes.TrimSpace(out)) == 0 {
		if out, err = os.ReadFile("/var/lib/dpkg/status"); err != nil {
			t.Log("no Debian package index on this machine: the committed sample only")
			return ""
		}
	}
	file := filepath.Join(t.TempDir(), "system-index")
	require.NoError(t, os.WriteFile(file, out, 0o600))
	return file
}

// load adds lines to objects by (key, type), as an import would: counters are increments.
func load(t *testing.T, objects map[string]json.RawMessage, lines string) {
	for text := range strings.Lines(lines) {
		var o struct {
			Bucket, Type string
			Key, Value   json.RawMessage
		}
		require.NoError(t, json.Unmarshal([]byte(text), &o))
		require.Equal(t, "debian", o.Bucket)
		key := raw(t, o.Key) + "\x00" + o.Type
		before, twice := objects[key]
		if twice {
			require.Equal(t, "counter", o.Type, "an object in both halves")
			o.Value = fmt.Append(nil, number(t, before)+number(t, o.Value))
		}
		objects[key] = o.Value
	}
}

func number(t *testing.T, value json.RawMessage) (n int64) {
	require.NoError(t, json.Unmarshal(value, &n))
	return n
}

// raw is a string of any bytes, as docs/formats/jsonl.md writes it.
func raw(t *testing.T, value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) == nil {
		return s
	}
	var b struct{ B64 []byte }
	require.NoError(t, json.Unmarshal(value, &b))
	return string(b.B64)
}

// digest is that of docs/formats/digest.md for bucket debian. The two types that occur sort like
// their numbers, and no key is followed by a zero byte in another.
func digest(t *testing.T, objects map[string]json.RawMessage) string {
	h := sha256.New()
	for _, id := range slices.Sorted(maps.Keys(objects)) {
		key, kind, _ := strings.Cut(id, "\x00")
		fmt.Fprintf(h, "%s%s%s", str("debian"), str(key), str(kind))
		if kind == "counter" {
			require.NoError(t, binary.Write(h, binary.BigEndian, number(t, objects[id])))
			continue
		}
		require.Equal(t, "map", kind)
		h.Write(fieldsOf(t, objects[id]))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func fieldsOf(t *testing.T, value json.RawMessage) []byte {
	var fields map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(value, &fields))
	unescaped := map[string]json.RawMessage{}
	for name, v := range fields {
		unescaped[strings.NewReplacer("%2F", "/", "%3A", ":", "%25", "%").Replace(name)] = v
	}
	names := slices.SortedFunc(maps.Keys(unescaped), func(a, b string) int {
		return strings.Compare(a[:strings.LastIndexByte(a, ':')], b[:strings.LastIndexByte(b, ':')])
	})
	var out []byte
	for _, full := range names {
		at := strings.LastIndexByte(full, ':')
		out = fmt.Appendf(out, "\x01%s%s", str(full[:at]), str(full[at+1:]))
		switch full[at+1:] {
		case "register-lww":
			out = append(out, str(raw(t, unescaped[full]))...)
		case "set-aw":
			out = append(out, elements(t, unescaped[full])...)
		default:
			t.Fatalf("field %s: unexpected type", full)
		}
	}
	return append(out, 0)
}

func elements(t *testing.T, value json.RawMessage) (out []byte) {
	var list []json.RawMessage
	require.NoError(t, json.Unmarshal(value, &list))
	for _, e := range list {
		out = fmt.Appendf(out, "\x01%s", str(raw(t, e)))
	}
	return append(out, 0)
}

func str(s string) string { return string(binary.AppendUvarint(nil, uint64(len(s)))) + s }
