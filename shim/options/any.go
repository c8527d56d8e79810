package options

import (
	"fmt"
	"path"
	"strings"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
)

const (
	// runtimeType is the message of runtimes that containerd knows nothing of.
	// CRI plugins before containerd 1.5 called the same message criRuntimeType.
	runtimeType    = "runtimeoptions.v1.Options"
	criRuntimeType = "cri.runtimeoptions.v1.Options"
	// runcType is what clients send that take every runtime for runc.
	runcType = "containerd.runc.v1.Options"

	// configType is the type_url by which gVisor's documentation marks a
	// configuration as one for runsc.
	configType = "io.containerd.runsc.v1.options"
)

// Any is a message of a named type: an *anypb.Any or a typeurl.Any.
type Any interface {
	GetTypeUrl() string
	GetValue() []byte
}

// FromAny returns the options that the caller's message stands for, with
// DefaultPaths as the default files; see the package's documentation. A nil
// message is the same as an empty one. Every error is InvalidArgument and names
// the message or file, the key and what would be right.
func FromAny(msg Any) (Options, error) {
	return Loader{Paths: DefaultPaths()}.FromAny(msg)
}

// FromAny is the function FromAny with the loader's default files.
func (l Loader) FromAny(msg Any) (Options, error) {
	if msg == nil || msg.GetTypeUrl() == "" && len(msg.GetValue()) == 0 {
		return l.defaults()
	}
	// The name stands after the last slash; before it there may be nothing, or
	// a host such as type.googleapis.com.
	switch name := path.Base(msg.GetTypeUrl()); name {
	case runtimeType, criRuntimeType:
		return l.fromRuntime(name, msg.GetValue())
	case runcType:
		return l.fromRunc(msg.GetValue())
	default:
		return Options{}, fmt.Errorf("runtime options are of type %q, want %s or %s: %w",
			msg.GetTypeUrl(), runtimeType, runcType, errdefs.ErrInvalidArgument)
	}
}

func (l Loader) fromRuntime(name string, value []byte) (Options, error) {
	var msg runtimeoptions.Options
	if err := proto.Unmarshal(value, &msg); err != nil {
		return Options{}, fmt.Errorf("decode runtime options %s: %w: %w", name, err, errdefs.ErrInvalidArgument)
	}
	source := "runtime options " + name
	if err := checkConfigType(msg.GetTypeUrl()); err != nil {
		return Options{}, badKey(source, "type_url", err)
	}
	switch {
	case msg.GetConfigPath() != "":
		return readConfig(msg.GetConfigPath())
	case len(msg.GetConfigBody()) > maxConfig:
		return Options{}, badKey(source, "config_body", fmt.Errorf("want at most %d bytes, have %d", maxConfig, len(msg.GetConfigBody())))
	case len(msg.GetConfigBody()) > 0:
		o, said, err := parse(source+" config_body", msg.GetConfigBody(), true)
		if err != nil || said {
			return o, err
		}
	}
	return l.defaults()
}

// fromRunc lays what runc's options have in common with ours over the default
// configuration.
func (l Loader) fromRunc(value []byte) (Options, error) {
	var msg runcoptions.Options
	if err := proto.Unmarshal(value, &msg); err != nil {
		return Options{}, fmt.Errorf("decode runtime options %s: %w: %w", runcType, err, errdefs.ErrInvalidArgument)
	}
	o, err := l.defaults()
	if err != nil {
		return Options{}, err
	}
	source := "runtime options " + runcType
	for _, s := range []struct {
		key   string
		value string
		into  *string
		check func(string) error
	}{
		{"root", msg.GetRoot(), &o.Root, checkAbsolute},
		{"shim_cgroup", msg.GetShimCgroup(), &o.ShimCgroup, checkText},
	} {
		if s.value == "" {
			continue
		}
		if err := s.check(s.value); err != nil {
			return Options{}, badKey(source, s.key, err)
		}
		*s.into = s.value
	}
	if msg.GetIoUid() != 0 {
		o.IoUID = msg.GetIoUid()
	}
	if msg.GetIoGid() != 0 {
		o.IoGID = msg.GetIoGid()
	}
	// In proto3 false is unset, so a file's true stays.
	o.SystemdCgroup = o.SystemdCgroup || msg.GetSystemdCgroup()
	if name := msg.GetBinaryName(); name != "" {
		// Clients name their runc here, whatever the runtime is. Only a name
		// that says so is a runsc.
		if strings.Contains(path.Base(name), defaultBinary) {
			if err := checkBinary(name); err != nil {
				return Options{}, badKey(source, "binary_name", err)
			}
			o.BinaryName = name
		} else {
			o.Ignored = append(o.Ignored, fmt.Sprintf("%s: binary_name %q does not name a runsc; %s is used", source, name, o.BinaryName))
		}
	}
	o.Ignored = append(o.Ignored, ignoredOfRunc(source, &msg)...)
	return o, nil
}

// ignoredOfRunc names the fields of msg that are set and mean nothing to runsc.
func ignoredOfRunc(source string, msg *runcoptions.Options) []string {
	var out []string
	for _, f := range []struct {
		key string
		set bool
	}{
		{"no_pivot_root", msg.GetNoPivotRoot()},
		{"no_new_keyring", msg.GetNoNewKeyring()},
		{"criu_image_path", msg.GetCriuImagePath() != ""},
		{"criu_work_path", msg.GetCriuWorkPath() != ""},
		{"task_api_address", msg.GetTaskApiAddress() != ""}, //nolint:staticcheck // deprecated, so only told
		{"task_api_version", msg.GetTaskApiVersion() != 0},  //nolint:staticcheck // deprecated, so only told
		{"a field that this version does not know", len(msg.ProtoReflect().GetUnknown()) > 0},
	} {
		if f.set {
			out = append(out, fmt.Sprintf("%s: %s has no meaning for runsc", source, f.key))
		}
	}
	return out
}

func checkConfigType(url string) error {
	if url != "" && url != configType {
		return fmt.Errorf("want %q or nothing, have %q", configType, url)
	}
	return nil
}
