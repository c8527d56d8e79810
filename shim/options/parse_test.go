package options

import (
	"strings"
	"testing"
	"unicode"

	"github.com/containerd/errdefs"
)

func TestOptions_EveryKey(t *testing.T) {
	o, said, err := parse("test", []byte(`
binary_name = "/usr/local/bin/runsc"
root = "/srv/runsc"
shim_cgroup = "/shims"
io_uid = 1000
io_gid = 4294967295
log_level = "Warning"
log_path = "/var/log/runsc/%ID%/"
grouping = false
control = "cli"
kubelet_root = "/srv/kubelet"
share_empty_dirs = false
port_forward = false
enable_hibernate_server = false
[runsc_config]
platform = "kvm"
`), false)
	if err != nil || !said {
		t.Fatalf("said %v, error %v", said, err)
	}
	if o.BinaryName != "/usr/local/bin/runsc" || o.Root != "/srv/runsc" || o.ShimCgroup != "/shims" ||
		o.IoUID != 1000 || o.IoGID != 4294967295 || o.LogLevel != "warning" || o.LogPath != "/var/log/runsc/%ID%/" ||
		o.Grouping || o.Control != ControlCLI || o.KubeletRoot != "/srv/kubelet" || o.ShareEmptyDirs || o.PortForward || o.RunscConfig["platform"] != "kvm" {
		t.Errorf("options are %+v", o)
	}
}

func TestOptions_RefusedConfigurations(t *testing.T) {
	for _, tc := range []struct {
		name, config string
		words        []string
	}{
		{"not TOML", "a = 1\nb = ", []string{"line 2"}},
		{"a key twice", "grouping = true\ngrouping = false", []string{"grouping", "line 2"}},
		{"typo", `gruoping = true`, []string{`"gruoping"`, `did you mean "grouping"`, "binary_name", "log_path"}},
		{"another spelling", `BinaryName = "x"`, []string{`"BinaryName"`, `did you mean "binary_name"`}},
		{"runc's key", `SystemdCgroup = true`, []string{"systemd-cgroup", "[runsc_config]"}},
		{"a flag at the top", `platform = "kvm"`, []string{`"platform"`, "[runsc_config]"}},
		{"envelope in a file", `TypeUrl = "io.containerd.runsc.v1.options"`, []string{"TypeUrl"}},
		{"hibernation", `enable_hibernate_server = true`, []string{"enable_hibernate_server", "not supported"}},
		{"hibernation, wrong type", `enable_hibernate_server = "true"`, []string{"true or false"}},
		{"number for a string", `root = 1`, []string{`"root"`, "a string", "the number 1"}},
		{"relative root", `root = "run"`, []string{`"root"`, "absolute", `"run"`}},
		{"empty root", `root = ""`, []string{`"root"`, "absolute"}},
		{"empty binary", `binary_name = ""`, []string{`"binary_name"`, "PATH"}},
		{"relative binary", `binary_name = "bin/runsc"`, []string{`"binary_name"`, "absolute"}},
		{"relative log", `log_path = "x.log"`, []string{`"log_path"`, "absolute"}},
		{"control character", `shim_cgroup = "a\u0000b"`, []string{`"shim_cgroup"`, "control character"}},
		{"string for an id", `io_uid = "0"`, []string{`"io_uid"`, "whole number", `the string "0"`}},
		{"fraction for an id", `io_gid = 1.5`, []string{`"io_gid"`, "whole number", "1.5"}},
		{"negative id", `io_uid = -1`, []string{`"io_uid"`, "4294967295", "-1"}},
		{"large id", `io_uid = 4294967296`, []string{`"io_uid"`, "4294967295"}},
		{"level", `log_level = "loud"`, []string{`"log_level"`, "trace, debug, info", `"loud"`}},
		{"level as a number", `log_level = 3`, []string{`"log_level"`, "trace, debug, info"}},
		{"grouping as a string", `grouping = "true"`, []string{`"grouping"`, "true or false", `the string "true"`}},
		{"relative kubelet's folder", `kubelet_root = "kubelet"`, []string{`"kubelet_root"`, "absolute"}},
		{"emptyDirs as a number", `share_empty_dirs = 0`, []string{`"share_empty_dirs"`, "true or false", "the number 0"}},
		{"port-forward as a string", `port_forward = "true"`, []string{`"port_forward"`, "true or false", `the string "true"`}},
		{"control", `control = "socket"`, []string{`"control"`, `"auto" or "cli"`, `"socket"`}},
		{"control as a boolean", `control = true`, []string{`"control"`, `"auto" or "cli"`}},
		{"flags as a string", `runsc_config = "debug"`, []string{`"runsc_config"`, "table"}},
		{"root flag", "[runsc_config]\nroot = '/x'", []string{`"root"`, "key root"}},
		{"log flag", "[runsc_config]\nlog = '/x'", []string{`"log"`, "debug-log", "log_path"}},
		{"log-format flag", "[runsc_config]\nlog-format = 'json'", []string{`"log-format"`}},
		{"key of the shim as a flag", "[runsc_config]\ngrouping = 'false'", []string{`"grouping"`, "above"}},
		{"dashes", "[runsc_config]\n--debug = 'true'", []string{`"--debug"`, `"debug"`, "dashes"}},
		{"only dashes", "[runsc_config]\n- = 'true'", []string{`"-"`}},
		{"no name", "[runsc_config]\n'' = 'true'", []string{"name of a flag"}},
		{"odd name", "[runsc_config]\n'a b' = 'true'", []string{`"a b"`, "letters, digits"}},
		{"equals sign in a name", "[runsc_config]\n'debug=false' = ''", []string{"letters, digits"}},
		{"flag with an array", "[runsc_config]\nx = ['a']", []string{`"x"`, "an array"}},
		{"flag with a table", "[runsc_config.x]\na = 1", []string{`"x"`, "a table"}},
		{"flag with a date", "[runsc_config]\nx = 2020-01-01", []string{`"x"`, "a date"}},
		{"flag that is no number", "[runsc_config]\nx = nan", []string{`"x"`, "finite"}},
		{"flag with a line break", "[runsc_config]\nx = \"a\\nb\"", []string{`"x"`, "control character"}},
		{"systemd-cgroup", "[runsc_config]\nsystemd-cgroup = 'yes'", []string{`"systemd-cgroup"`, "true or false"}},
		{"nested without end", "x = " + strings.Repeat("[", 2000), []string{"levels deep"}},
		{"a key of many parts", "x" + strings.Repeat(".x", 2000) + " = 1", []string{"levels deep"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := parse("/etc/containerd/runsc.toml", []byte(tc.config), false)
			refused(t, err, append(tc.words, "/etc/containerd/runsc.toml")...)
		})
	}
}

// FuzzParse checks that whatever is configured is either refused as the
// caller's mistake or gives flags that can be passed to a command.
func FuzzParse(f *testing.F) {
	f.Add([]byte("binary_name = 'runsc'\n[runsc_config]\ndebug = true\n"), true)
	f.Add([]byte("TypeUrl = 'io.containerd.runsc.v1.options'"), true)
	f.Add([]byte("[runsc_config]\nx = 1.5\ny = 0x10\n"), false)
	f.Add([]byte("a = [[[{b = 1}]]]"), false)
	f.Fuzz(func(t *testing.T, data []byte, body bool) {
		o, _, err := parse("fuzz", data, body)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("error is %v, want InvalidArgument", err)
			}
			return
		}
		for _, flag := range o.Flags("id") {
			if !strings.HasPrefix(flag, "--") || strings.HasPrefix(flag, "---") || !strings.Contains(flag, "=") {
				t.Errorf("malformed flag %q", flag)
			}
			if strings.ContainsFunc(flag, unicode.IsControl) {
				t.Errorf("control character in flag %q", flag)
			}
		}
		if o.BinaryName == "" || o.Root == "" || o.Control != ControlAuto && o.Control != ControlCLI {
			t.Errorf("invalid options %+v", o)
		}
	})
}
