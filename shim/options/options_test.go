package options

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// message packs m as containerd does, under a type url without a host.
func message(t *testing.T, typeURL string, m proto.Message) *anypb.Any {
	t.Helper()
	value, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &anypb.Any{TypeUrl: typeURL, Value: value}
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runsc.toml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// refused checks that err is InvalidArgument and says all of words.
func refused(t *testing.T, err error, words ...string) {
	t.Helper()
	if !errdefs.IsInvalidArgument(err) {
		t.Fatalf("error is %v, want InvalidArgument", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestOptions_Sources(t *testing.T) {
	file := write(t, `binary_name = "from-default-file"`)
	explicit := write(t, `binary_name = "from-path"`)
	loader := Loader{Paths: []string{filepath.Join(t.TempDir(), "absent.toml"), file, explicit}}
	for _, tc := range []struct {
		name string
		msg  Any
		want string
	}{
		{"nothing", nil, "from-default-file"},
		{"nil pointer", (*anypb.Any)(nil), "from-default-file"},
		{"empty Any", &anypb.Any{}, "from-default-file"},
		{"type without value", &anypb.Any{TypeUrl: "runtimeoptions.v1.Options"}, "from-default-file"},
		{"empty message", message(t, "runtimeoptions.v1.Options", &runtimeoptions.Options{}), "from-default-file"},
		{"marked but empty", message(t, "runtimeoptions.v1.Options", &runtimeoptions.Options{TypeUrl: configType}), "from-default-file"},
		{"path", message(t, "runtimeoptions.v1.Options", &runtimeoptions.Options{ConfigPath: explicit}), "from-path"},
		{"path, old name", message(t, "cri.runtimeoptions.v1.Options", &runtimeoptions.Options{TypeUrl: configType, ConfigPath: explicit}), "from-path"},
		{"path, name with a host", message(t, "type.googleapis.com/runtimeoptions.v1.Options", &runtimeoptions.Options{ConfigPath: explicit}), "from-path"},
		{"body", message(t, "runtimeoptions.v1.Options", &runtimeoptions.Options{ConfigBody: []byte(`binary_name = "from-body"`)}), "from-body"},
		{"path and body", message(t, "runtimeoptions.v1.Options", &runtimeoptions.Options{ConfigPath: explicit, ConfigBody: []byte(`binary_name = "from-body"`)}), "from-path"},
		{"containerd's table as the body", message(t, "runtimeoptions.v1.Options", &runtimeoptions.Options{
			TypeUrl: configType, ConfigBody: []byte("ConfigPath = ''\nTypeUrl = \"io.containerd.runsc.v1.options\"\n"),
		}), "from-default-file"},
		{"containerd's table with options", message(t, "runtimeoptions.v1.Options", &runtimeoptions.Options{
			TypeUrl: configType, ConfigBody: []byte("TypeUrl = \"io.containerd.runsc.v1.options\"\nbinary_name = 'from-body'\n"),
		}), "from-body"},
		{"a body is complete", message(t, "runtimeoptions.v1.Options", &runtimeoptions.Options{ConfigBody: []byte(`grouping = false`)}), "runsc"},
		{"runc's message", message(t, "containerd.runc.v1.Options", &runcoptions.Options{}), "from-default-file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, err := loader.FromAny(tc.msg)
			if err != nil {
				t.Fatal(err)
			}
			if o.BinaryName != tc.want {
				t.Errorf("binary is %q, want %q", o.BinaryName, tc.want)
			}
		})
	}
}

func TestOptions_DefaultsWithoutAFile(t *testing.T) {
	o, err := Loader{}.FromAny(nil)
	if err != nil {
		t.Fatal(err)
	}
	if o.BinaryName != "runsc" || o.Root != "/run/containerd/runsc" || !o.Grouping || o.Control != ControlAuto {
		t.Errorf("defaults are %+v", o)
	}
	if flags := o.Flags("id"); len(flags) != 0 {
		t.Errorf("default flags are %q, want none", flags)
	}
}

func TestOptions_RefusedMessages(t *testing.T) {
	dir := t.TempDir()
	broken := write(t, "grouping = maybe")
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	big := write(t, strings.Repeat("#", maxConfig+1))
	for _, tc := range []struct {
		name  string
		paths []string
		msg   Any
		words []string
	}{
		{"another type", nil, message(t, "google.protobuf.Timestamp", &timestamppb.Timestamp{Seconds: 1}), []string{"google.protobuf.Timestamp", runtimeType, runcType}},
		{"a value without a type", nil, &anypb.Any{Value: []byte{1}}, []string{`type ""`}},
		{"garbage", nil, &anypb.Any{TypeUrl: runtimeType, Value: []byte{0xff}}, []string{"decode", runtimeType}},
		{"garbage for runc", nil, &anypb.Any{TypeUrl: runcType, Value: []byte{0xff}}, []string{"decode", runcType}},
		{"type_url of another runtime", nil, message(t, runtimeType, &runtimeoptions.Options{TypeUrl: "io.containerd.kata.v2.options"}), []string{"type_url", configType, "kata"}},
		{"missing path", nil, message(t, runtimeType, &runtimeoptions.Options{ConfigPath: dir + "/absent.toml"}), []string{dir + "/absent.toml", "no such file"}},
		{"relative path", nil, message(t, runtimeType, &runtimeoptions.Options{ConfigPath: "runsc.toml"}), []string{"runsc.toml", "absolute"}},
		{"directory", nil, message(t, runtimeType, &runtimeoptions.Options{ConfigPath: dir}), []string{dir, "a directory"}},
		{"FIFO that nobody writes", nil, message(t, runtimeType, &runtimeoptions.Options{ConfigPath: fifo}), []string{fifo, "a FIFO"}},
		{"device", nil, message(t, runtimeType, &runtimeoptions.Options{ConfigPath: "/dev/zero"}), []string{"/dev/zero", "a device"}},
		{"large file", nil, message(t, runtimeType, &runtimeoptions.Options{ConfigPath: big}), []string{big, "1048576"}},
		{"large body", nil, message(t, runtimeType, &runtimeoptions.Options{ConfigBody: make([]byte, maxConfig+1)}), []string{"config_body", "1048576"}},
		{"broken default file", []string{broken}, nil, []string{broken, "line 1"}},
		{"broken default file under runc's options", []string{broken}, message(t, runcType, &runcoptions.Options{}), []string{broken}},
		{"default file that is a directory", []string{dir}, nil, []string{dir, "a directory"}},
		{"body with a foreign TypeUrl", nil, message(t, runtimeType, &runtimeoptions.Options{ConfigBody: []byte(`TypeUrl = "x"`)}), []string{"TypeUrl", configType}},
		{"body with a path", nil, message(t, runtimeType, &runtimeoptions.Options{ConfigBody: []byte(`ConfigPath = "/x"`)}), []string{"ConfigPath", "config_path"}},
		{"runc: relative root", nil, message(t, runcType, &runcoptions.Options{Root: "x"}), []string{"root", "absolute"}},
		{"runc: control character", nil, message(t, runcType, &runcoptions.Options{ShimCgroup: "a\nb"}), []string{"shim_cgroup", "control character"}},
		{"runc: relative runsc", nil, message(t, runcType, &runcoptions.Options{BinaryName: "bin/runsc"}), []string{"binary_name", "absolute"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Loader{Paths: tc.paths}.FromAny(tc.msg)
			refused(t, err, tc.words...)
		})
	}
}

func TestOptions_RuncLaidOverTheFile(t *testing.T) {
	file := write(t, `
root = "/file/root"
io_uid = 1
io_gid = 2
shim_cgroup = "/file"
control = "cli"
[runsc_config]
platform = "ptrace"
systemd-cgroup = "true"
`)
	loader := Loader{Paths: []string{file}}
	o, err := loader.FromAny(message(t, runcType, &runcoptions.Options{
		Root: "/runc/root", IoUid: 11, IoGid: 12, ShimCgroup: "/runc", BinaryName: "/usr/bin/runc",
		NoPivotRoot: true, NoNewKeyring: true, CriuImagePath: "/i", CriuWorkPath: "/w",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if o.Root != "/runc/root" || o.IoUID != 11 || o.IoGID != 12 || o.ShimCgroup != "/runc" || !o.SystemdCgroup {
		t.Errorf("not honoured: %+v", o)
	}
	if o.Control != ControlCLI || o.RunscConfig["platform"] != "ptrace" {
		t.Errorf("the file is lost: %+v", o)
	}
	if o.BinaryName != "runsc" {
		t.Errorf("binary is %q, a runc", o.BinaryName)
	}
	told := strings.Join(o.Ignored, "\n")
	for _, key := range []string{"/usr/bin/runc", "no_pivot_root", "no_new_keyring", "criu_image_path", "criu_work_path"} {
		if !strings.Contains(told, key) {
			t.Errorf("%s is silently ignored; told is %q", key, told)
		}
	}

	o, err = loader.FromAny(message(t, runcType, &runcoptions.Options{BinaryName: "/opt/runsc-nightly"}))
	if err != nil {
		t.Fatal(err)
	}
	if o.Root != "/file/root" || o.IoUID != 1 || o.IoGID != 2 || o.BinaryName != "/opt/runsc-nightly" || len(o.Ignored) != 0 {
		t.Errorf("unset fields do not leave the file's values, or the runsc is not taken: %+v", o)
	}
}

func TestOptions_Flags(t *testing.T) {
	o, _, err := parse("test", []byte(`
[runsc_config]
platform = "systrap"
debug = true
num-network-channels = 4
some-ratio = 1e6
debug-log = "/var/log/%ID%/x.%COMMAND%"
TESTONLY-unsafe-nonroot = "true"
systemd-cgroup = true
empty = ""
`), false)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"--TESTONLY-unsafe-nonroot=true",
		"--debug-log=/var/log/web/x.%COMMAND%",
		"--debug=true",
		"--empty=",
		"--num-network-channels=4",
		"--platform=systrap",
		"--some-ratio=1000000",
		"--systemd-cgroup=true",
	}
	if got := o.Flags("web"); !slices.Equal(got, want) {
		t.Errorf("flags are\n%q, want\n%q", got, want)
	}
}

func TestOptions_LogFile(t *testing.T) {
	for _, tc := range []struct{ path, want string }{
		{"", ""},
		{"/var/log/shim.log", "/var/log/shim.log"},
		{"/var/log/%ID%/%ID%.log", "/var/log/web/web.log"},
		{"/var/log/runsc/", "/var/log/runsc/runsc-shim-web.log"},
		{"/var/log/%ID%/", "/var/log/web/runsc-shim-web.log"},
	} {
		if got := (Options{LogPath: tc.path}).LogFile("web"); got != tc.want {
			t.Errorf("log file of %q is %q, want %q", tc.path, got, tc.want)
		}
	}
}
