package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

type value struct{ A int }

func TestTheLastCounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	var v value
	if err := Last(path, 100, &v); !errdefs.IsNotFound(err) {
		t.Errorf("no file: %v", err)
	}
	for i := range 3 {
		if err := Append(path, 1000, value{i}); err != nil {
			t.Fatal(err)
		}
		if err := Last(path, 100, &v); err != nil || v.A != i {
			t.Errorf("%+v, %v, want %d", v, err, i)
		}
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	if err := Last(path, 8, &v); !errdefs.IsInvalidArgument(err) {
		t.Errorf("too long: %v", err)
	}
	if err := Append(filepath.Join(path, "under"), 100, v); err == nil {
		t.Error("no error where nothing can be written")
	}
}

func TestWhatIsCutShortDoesNotCount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	for text, want := range map[string]int{
		"\n{\"A\":1}\n\n{\"A\":2":          1,
		"\n{\"A\":1}\n\n{\"A\":2}":         1, // a number can be cut short and look whole
		"\n{\"A\":1}\n\n{\"A\":\n":         1,
		"\n{\"A\":1}\n\n{\"A\n{\"A\":3}\n": 3,
		"\n{\"A\":1}\n\n{\"A\":\"x\"}\n":   1,
		"{\"A\":5}\n":                      5,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var v value
		if err := Last(path, 1000, &v); err != nil || v.A != want {
			t.Errorf("%q: %+v, %v, want %d", text, v, err, want)
		}
	}
	for _, text := range []string{"", "\n", "{", "{\"A\":1}", "garbage\n", "[]\n\x00\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var v value
		if err := Last(path, 1000, &v); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %+v, %v", text, v, err)
		}
	}
}

func FuzzLast(f *testing.F) {
	f.Add([]byte("\n{\"A\":1}\n\n{\"A\":2"))
	path := filepath.Join(f.TempDir(), "j")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		var v value
		if err := Last(path, 1<<20, &v); err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", b, err)
		}
	})
}

func TestNothingIsWrittenToWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	fifo, link, other := filepath.Join(dir, "fifo"), filepath.Join(dir, "link"), filepath.Join(dir, "other")
	if err := errors.Join(unix.Mkfifo(fifo, 0o600), os.WriteFile(other, nil, 0o600), os.Symlink(other, link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, link, dir} {
		if err := Append(path, 100, value{1}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", path, err)
		}
		var v value
		if err := Last(path, 100, &v); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if b, err := os.ReadFile(other); err != nil || len(b) > 0 {
		t.Errorf("a link was followed: %q, %v", b, err)
	}
}

// TestWhatIsWrittenCanBeRead: however long the values are, the last is there.
func TestWhatIsWrittenCanBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	const limit = 1000
	want := ""
	for n := 0; n < 2*limit; n += 17 {
		next := strings.Repeat("<", n)
		err := Append(path, limit, next)
		if fits := len("\n\"")+n+len("\"\n") <= limit; (err == nil) != fits || err != nil && !errdefs.IsInvalidArgument(err) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if err == nil {
			want = next
		}
		var got string
		if err := Last(path, limit, &got); err != nil || got != want {
			t.Fatalf("of %d bytes %d are left, %v", len(want), len(got), err)
		}
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
}
