package bootstrap

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// environment is the part of a process's environment that containerd sets.
type environment map[string]string

func (e environment) get(key string) string { return e[key] }

func env16() environment {
	return environment{"GOMAXPROCS": "2", "TTRPC_ADDRESS": "/run/containerd/containerd.sock.ttrpc"}
}

func env17() environment {
	e := env16()
	e["MAX_SHIM_VERSION"] = "2"
	e["GRPC_ADDRESS"] = "/run/containerd/containerd.sock"
	e["NAMESPACE"] = "default"
	return e
}

// arguments is what every containerd passes, with more before the action.
func arguments(action string, more ...string) []string {
	args := []string{
		"-namespace", "default", "-address", "/run/containerd/containerd.sock",
		"-publish-binary", "/usr/bin/containerd", "-id", "web",
	}
	args = append(args, more...)
	if action != "" {
		args = append(args, action)
	}
	return args
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pack puts m into an Any as containerd does, without a host in the type.
func pack(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	return &anypb.Any{TypeUrl: string(m.ProtoReflect().Descriptor().FullName()), Value: marshal(t, m)}
}

// modern is what containerd 2.4 writes to stdin of start.
func modern(id, namespace string, options *anypb.Any) *bootapi.BootstrapParams {
	p := &bootapi.BootstrapParams{
		InstanceID:             id,
		Namespace:              namespace,
		ContainerdVersion:      "2.4.2",
		ContainerdGrpcAddress:  "/run/containerd/containerd.sock",
		ContainerdTtrpcAddress: "/run/containerd/containerd.sock.ttrpc",
		ContainerdBinary:       "/usr/bin/containerd",
	}
	if options != nil {
		p.Extensions = []*bootapi.Extension{{Value: options}}
	}
	return p
}

func bundle(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestR1_StartOfEveryContainerd(t *testing.T) {
	options := pack(t, &runtimeoptions.Options{ConfigPath: "/etc/containerd/runsc.toml"})
	runc := pack(t, &runcoptions.Options{Root: "/x"})
	for _, tc := range []struct {
		name    string
		env     environment
		files   []string
		stdin   []byte
		reply   ReplyForm
		version int
		options *anypb.Any
	}{
		{"1.6", env16(), []string{"config.json"}, nil, Plain, 2, nil},
		{"1.6 with options", env16(), []string{"config.json"}, marshal(t, options), Plain, 2, options},
		{"1.6 never sees a sandbox", env16(), nil, nil, Plain, 2, nil},
		{"1.7", env17(), []string{"config.json"}, nil, JSON, 2, nil},
		{"1.7 with options", env17(), []string{"config.json"}, marshal(t, options), JSON, 2, options},
		{"1.7 with an empty Any", env17(), []string{"config.json"}, marshal(t, &anypb.Any{}), JSON, 2, nil},
		{"1.7 with runc's options", env17(), []string{"config.json"}, marshal(t, runc), JSON, 2, runc},
		{"2.2 container", env17(), []string{"config.json"}, marshal(t, options), JSON, 2, options},
		{"2.2 sandbox", env17(), nil, marshal(t, options), JSON, 3, options},
		{"2.4", env17(), []string{"config.json"}, marshal(t, modern("web", "default", nil)), Proto, 3, nil},
		{"2.4 with options", env17(), []string{"config.json"}, marshal(t, modern("web", "default", options)), Proto, 3, options},
		{"2.4 sandbox", env17(), nil, marshal(t, modern("web", "default", options)), Proto, 3, options},
		{"2.4 with an empty Any", env17(), nil, marshal(t, modern("web", "default", &anypb.Any{})), Proto, 3, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := bundle(t, tc.files...)
			t.Chdir(dir)
			p, err := Parse(arguments("start"), tc.env.get)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.ReadStdin(bytes.NewReader(tc.stdin)); err != nil {
				t.Fatal(err)
			}
			if p.Action != ActionStart || p.ID != "web" || p.Namespace != "default" || p.Bundle != dir ||
				p.Address != "/run/containerd/containerd.sock" || p.TTRPCAddress != "/run/containerd/containerd.sock.ttrpc" ||
				p.PublishBinary != "/usr/bin/containerd" || p.Debug {
				t.Errorf("params are %+v", p)
			}
			if p.Reply != tc.reply || p.TaskVersion != tc.version {
				t.Errorf("answer is %s, version %d; want %s, version %d", p.Reply, p.TaskVersion, tc.reply, tc.version)
			}
			if !proto.Equal(p.Options, tc.options) {
				t.Errorf("options are %v, want %v", p.Options, tc.options)
			}
		})
	}
}

// An Any of options parses as BootstrapParams whose instance id is its type and
// whose namespace is its value.
func TestR1_OptionsThatLookLikeParams(t *testing.T) {
	options := &anypb.Any{TypeUrl: "other", Value: []byte("default")}
	p, err := Parse(arguments("start", "-bundle", bundle(t, "config.json")), env17().get)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.ReadStdin(bytes.NewReader(marshal(t, options))); err != nil {
		t.Fatal(err)
	}
	if p.Reply != JSON || p.TaskVersion != 2 || !proto.Equal(p.Options, options) {
		t.Errorf("params are %+v", p)
	}
}

func TestR1_ParamsOfContainerd24(t *testing.T) {
	params := modern("web", "default", nil)
	params.LogLevel = bootapi.LogLevel_LOG_LEVEL_TRACE
	params.SocketDir = proto.String("/run/shims/")
	params.ContainerdTtrpcAddress = "/other.ttrpc"
	options := pack(t, &runtimeoptions.Options{ConfigPath: "/x"})
	params.Extensions = []*bootapi.Extension{
		nil, {}, {Value: pack(t, &timestamppb.Timestamp{Seconds: 1})}, {Value: options},
	}
	p, err := Parse(arguments("start"), env17().get)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.ReadStdin(bytes.NewReader(marshal(t, params))); err != nil {
		t.Fatal(err)
	}
	if !p.Debug || p.SocketDir != "/run/shims" || p.TTRPCAddress != "/other.ttrpc" || !proto.Equal(p.Options, options) {
		t.Errorf("params are %+v", p)
	}
}

func TestR1_RefusedStdin(t *testing.T) {
	relative := modern("web", "default", nil)
	relative.SocketDir = proto.String("s")
	for _, tc := range []struct {
		name  string
		args  []string
		stdin []byte
		words string
	}{
		{"params of another container", arguments("start"), marshal(t, modern("db", "default", nil)), "bootstrap params of web"},
		{"params of another namespace", arguments("start"), marshal(t, modern("web", "k8s.io", nil)), "bootstrap params of web"},
		{"garbage", arguments("start"), []byte("{\"json\": true}"), "bootstrap params of web"},
		{"too much", arguments("start"), make([]byte, maxStdin+1), "10485760"},
		{"relative socket directory", arguments("start"), marshal(t, relative), "socket_dir"},
		{"info: garbage", []string{"-info"}, []byte{0xff}, "runtime options"},
		{"info: a field too many", []string{"-info"}, protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 1), "runtime options"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := Parse(tc.args, env17().get)
			if err != nil {
				t.Fatal(err)
			}
			err = p.ReadStdin(bytes.NewReader(tc.stdin))
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("error is %v, want InvalidArgument that says %q", err, tc.words)
			}
		})
	}
}

// never is a stdin that must not be touched.
type never struct{ t *testing.T }

func (n never) Read([]byte) (int, error) {
	n.t.Error("stdin was read")
	return 0, os.ErrInvalid
}

func TestR2_DeleteOfEveryContainerd(t *testing.T) {
	for _, env := range []environment{env16(), env17()} {
		p, err := Parse(arguments("delete", "-bundle", "/run/containerd/io.containerd.runtime.v2.task/default/web", "-debug"), env.get)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.ReadStdin(never{t}); err != nil {
			t.Fatal(err)
		}
		if p.Action != ActionDelete || p.Bundle != "/run/containerd/io.containerd.runtime.v2.task/default/web" || !p.Debug || p.Options != nil {
			t.Errorf("params are %+v", p)
		}
	}
}

func TestR1_Serve(t *testing.T) {
	p, err := Parse(arguments("", "-bundle", "/b/web", "-socket", "/run/containerd/s/x", "-debug-socket", "/d"), env17().get)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.ReadStdin(never{t}); err != nil {
		t.Fatal(err)
	}
	if p.Action != ActionServe || p.Socket != "/run/containerd/s/x" || p.Bundle != "/b/web" {
		t.Errorf("params are %+v", p)
	}
	for _, bundle := range []string{"b", ""} {
		if _, err := Parse(arguments("", "-bundle", bundle), env17().get); !errdefs.IsInvalidArgument(err) {
			t.Errorf("the bundle %q: %v", bundle, err)
		}
	}
}

func TestR3_InfoAndVersion(t *testing.T) {
	options := pack(t, &runtimeoptions.Options{ConfigPath: "/x"})
	for _, tc := range []struct {
		name    string
		arg     string
		stdin   []byte
		info    bool
		options *anypb.Any
	}{
		{"version", "-version", nil, false, nil},
		{"v", "-v", nil, false, nil},
		{"info", "-info", nil, true, nil},
		{"info with options", "-info", marshal(t, options), true, options},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := Parse([]string{tc.arg}, environment{}.get)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.ReadStdin(bytes.NewReader(tc.stdin)); err != nil {
				t.Fatal(err)
			}
			if p.Info != tc.info || p.Version == tc.info || !proto.Equal(p.Options, tc.options) {
				t.Errorf("params are %+v", p)
			}
		})
	}
}

// A stdin that is a device is not read to its end, which for a terminal is far.
func TestR3_InfoAtATerminal(t *testing.T) {
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	p := Params{Info: true}
	if err := p.ReadStdin(zero); err != nil || p.Options != nil {
		t.Errorf("options are %v, error %v", p.Options, err)
	}
}

func TestR1_RefusedCommandLines(t *testing.T) {
	for _, tc := range []struct {
		name  string
		args  []string
		words []string
	}{
		{"nothing", nil, []string{"-id", "missing", "usage"}},
		{"unknown action", arguments("restart"), []string{`unknown action "restart"`, "start | delete"}},
		{"two actions", arguments("start", "delete"), []string{`"start"`, "after the action"}},
		{"unknown flag", []string{"-frob"}, []string{"frob", "usage"}},
		{"help", []string{"-h"}, []string{"containerd runs this program", "usage"}},
		{"no namespace", []string{"-id", "web", "start"}, []string{"-namespace", "missing"}},
		{"id that is a path", []string{"-id", "../web", "-namespace", "default"}, []string{"-id", "name of a file"}},
		{"id that is a directory", []string{"-id", "..", "-namespace", "default"}, []string{"-id", "name of a file"}},
		{"namespace with a line break", []string{"-id", "web", "-namespace", "a\nb"}, []string{"-namespace", "name of a file"}},
		{"long id", []string{"-id", strings.Repeat("x", 256), "-namespace", "default"}, []string{"-id", "255"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse(tc.args, environment{}.get)
			if !errdefs.IsInvalidArgument(err) {
				t.Fatalf("error is %v, want InvalidArgument", err)
			}
			for _, w := range tc.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
		})
	}
}

// FuzzReadStdin checks that whatever containerd or somebody else sends is either
// refused as the caller's mistake or leaves params that can be answered.
func FuzzReadStdin(f *testing.F) {
	options := pack(f, &runtimeoptions.Options{ConfigPath: "/x"})
	f.Add(marshal(f, options), false)
	f.Add(marshal(f, options), true)
	f.Add(marshal(f, modern("web", "default", options)), false)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, data []byte, info bool) {
		p := Params{ID: "web", Namespace: "default", Action: ActionStart, Info: info, Reply: JSON, TaskVersion: 2}
		if err := p.ReadStdin(bytes.NewReader(data)); err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("error is %v, want InvalidArgument", err)
			}
			return
		}
		if p.ID != "web" || p.Namespace != "default" {
			t.Errorf("stdin changed the identity: %+v", p)
		}
		if p.SocketDir != "" && !filepath.IsAbs(p.SocketDir) {
			t.Errorf("relative socket directory %q", p.SocketDir)
		}
		if _, err := p.Reply.Encode(p.TaskVersion, "unix:///x"); err != nil {
			t.Error(err)
		}
	})
}
