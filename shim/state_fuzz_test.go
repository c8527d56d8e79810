package shim

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"containerd-shim-runsc/shim/bootstrap"
)

// FuzzState checks that the state of a container is one that a shim can have written, or is
// refused, and that in any case there is a sandbox to look for: R2.
func FuzzState(f *testing.F) {
	f.Add([]byte(`{"SandboxID":"pod","Runsc":{"Binary":"runsc","Root":"/run/x","Flags":["--debug=true"]}}`))
	f.Add([]byte(`{"SandboxID":"../..","Runsc":{"Binary":"runsc","Root":"/run/x"}}`))
	f.Add([]byte(`{"SandboxID":"*","Runsc":{"Binary":"runsc","Root":"/"}}`))
	f.Add([]byte(`{"SandboxID":"pod","Runsc":{"Binary":"","Root":"x"}}`))
	f.Add([]byte(`{"SandboxID":"pod"`))
	f.Add([]byte(`null`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, stateName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		sandbox := sandboxOf(bootstrap.Params{ID: "c", Bundle: dir})
		if filepath.Base(sandbox) != sandbox || strings.Trim(sandbox, ".") == "" || strings.ContainsAny(sandbox, "*?[\\\x00") {
			t.Errorf("the sandbox is %q", sandbox)
		}
		s, err := loadState(dir)
		if err != nil {
			if !reflect.DeepEqual(s, bundleState{}) || !errdefs.IsInvalidArgument(err) || sandbox != "c" {
				t.Errorf("%+v, %v", s, err)
			}
			return
		}
		if s.SandboxID != sandbox || s.Runsc.Binary == "" || !filepath.IsAbs(s.Runsc.Root) {
			t.Errorf("%+v", s)
		}
		if err := s.save(dir); err != nil {
			t.Fatal(err)
		}
		again, err := loadState(dir)
		if len(s.Runsc.Flags) == 0 {
			s.Runsc.Flags, again.Runsc.Flags = nil, nil
		}
		if err != nil || !reflect.DeepEqual(s, again) {
			t.Errorf("%+v became %+v, %v", s, again, err)
		}
	})
}

// FuzzRecordedExit checks that whatever is left of a record, a delete has an exit to tell,
// and one that can be: R2, P16.
func FuzzRecordedExit(f *testing.F) {
	f.Add([]byte("\n" + `{"PID":7,"State":"stopped","Exit":{"Status":3,"At":"2026-01-01T00:00:00Z"}}` + "\n"))
	f.Add([]byte("\n" + `{"PID":7,"State":"running","Exit":{"Status":255}}` + "\n\n" + `{"PID":7,"Sta`))
	f.Add([]byte("\n" + `{"PID":-7,"State":"stopped","Exit":{"Status":256}}` + "\n"))
	f.Add([]byte("\n" + `{"PID":4294967296,"State":"stopped"}` + "\n"))
	f.Add([]byte("garbage"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, "init.jsonl"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		exit, err := recordedExit(dir, "c")
		if exit == nil {
			t.Fatalf("there is no exit, and %v", err)
		}
		if exit.ExitStatus > 255 || int32(exit.Pid) < 0 || exit.ExitedAt == nil {
			t.Errorf("%+v, %v", exit, err)
		}
		if err != nil && (!errdefs.IsInvalidArgument(err) || exit.ExitStatus != 137) {
			t.Errorf("%+v, %v", exit, err)
		}
	})
}

// FuzzLogLine checks that whatever is logged is one line, and no longer than lines may be.
func FuzzLogLine(f *testing.F) {
	f.Add("hello", uint16(1), "key", "value", false)
	f.Add("two\nlines\x00\xff", uint16(1), "k=y\n", "\x1b[31m", true)
	f.Add("é", uint16(maxFIFOLine), "key", "value", true)
	f.Add("\n", uint16(maxLine-1), "", "", false)
	f.Fuzz(func(t *testing.T, text string, times uint16, key, value string, fifo bool) {
		message := strings.Repeat(text, min(int(times), 2*maxLine/max(len(text), 1)))
		logger := logrus.New()
		c := &cutting{Formatter: &logrus.TextFormatter{DisableColors: true}, fifo: fifo}
		b, err := c.Format(&logrus.Entry{Logger: logger, Level: logrus.WarnLevel, Message: message, Data: logrus.Fields{"a" + key: value}})
		if err != nil {
			t.Fatal(err)
		}
		most := maxLine
		if fifo {
			most = maxFIFOLine
		}
		if len(b) > most || !bytes.HasSuffix(b, []byte("\n")) {
			t.Errorf("%d bytes: %.100q", len(b), b)
		}
		if !strings.Contains(key, "\n") && bytes.Count(b, []byte("\n")) != 1 {
			t.Errorf("several lines: %.200q", b)
		}
	})
}
