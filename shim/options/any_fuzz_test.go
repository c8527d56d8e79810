package options

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// FuzzFromAny checks that whatever message a caller sends is refused as the caller's mistake,
// or gives options that hold what they promise.
func FuzzFromAny(f *testing.F) {
	add := func(url string, m proto.Message) {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(url, b)
	}
	add(runtimeType, &runtimeoptions.Options{TypeUrl: configType, ConfigBody: []byte("log_path = '/x/%ID%/'\n[runsc_config]\ndebug = true\n")})
	add("type.googleapis.com/"+criRuntimeType, &runtimeoptions.Options{ConfigPath: "relative.toml"})
	add(runtimeType, &runtimeoptions.Options{TypeUrl: "another"})
	add(runcType, &runcoptions.Options{Root: "/run/x", BinaryName: "/usr/bin/runsc-1", SystemdCgroup: true, IoUid: 5, NoPivotRoot: true})
	add(runcType, &runcoptions.Options{Root: "x", BinaryName: "crun", ShimCgroup: "/a\nb"})
	f.Add("containerd.linux.runc.Options", []byte{})
	f.Add("", []byte{1})
	f.Add(runcType, []byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, url string, value []byte) {
		var msg runtimeoptions.Options
		if proto.Unmarshal(value, &msg) == nil && filepath.IsAbs(msg.GetConfigPath()) {
			return // a file of this machine
		}
		o, err := Loader{}.FromAny(&anypb.Any{TypeUrl: url, Value: value})
		if err != nil {
			if !errdefs.IsInvalidArgument(err) || !reflect.DeepEqual(o, Options{}) {
				t.Errorf("%+v, %v", o, err)
			}
			return
		}
		checkOptions(t, o)
	})
}

// checkOptions checks what Options promise.
func checkOptions(t *testing.T, o Options) {
	t.Helper()
	if o.BinaryName == "" || strings.Contains(o.BinaryName, "/") && !filepath.IsAbs(o.BinaryName) || !filepath.IsAbs(o.Root) {
		t.Errorf("the binary is %q, the root %q", o.BinaryName, o.Root)
	}
	if o.Control != ControlAuto && o.Control != ControlCLI {
		t.Errorf("the control is %q", o.Control)
	}
	if file := o.LogFile("id"); file != "" && (!filepath.IsAbs(file) || filepath.Clean(file) != file) {
		t.Errorf("the log file is %q", file)
	}
	for _, flag := range append(o.Flags("id"), o.BinaryName, o.Root, o.ShimCgroup, o.LogPath, o.KubeletRoot) {
		if strings.ContainsFunc(flag, unicode.IsControl) {
			t.Errorf("a control character in %q", flag)
		}
	}
	for _, flag := range o.Flags("id") {
		key, _, both := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
		if !strings.HasPrefix(flag, "--") || !both || key == "" || strings.HasPrefix(key, "-") ||
			key == "root" || key == "log" || key == "log-format" {
			t.Errorf("the flag %q", flag)
		}
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var again Options
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	again.Ignored = o.Ignored
	if !reflect.DeepEqual(o, again) {
		t.Errorf("%+v became %+v", o, again)
	}
}
