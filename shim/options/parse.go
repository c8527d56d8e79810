package options

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/containerd/errdefs"
)

// runscConfigKey is the table of runsc's own flags.
const runscConfigKey = "runsc_config"

// setter puts the value of one key, as the TOML decoder gives it, into o.
type setter func(o *Options, value any) error

// setters returns every key of a configuration.
func setters() map[string]setter {
	return map[string]setter{
		"binary_name":      text(func(o *Options) *string { return &o.BinaryName }, checkBinary),
		"root":             text(func(o *Options) *string { return &o.Root }, checkAbsolute),
		"shim_cgroup":      text(func(o *Options) *string { return &o.ShimCgroup }, checkText),
		"io_uid":           id(func(o *Options) *uint32 { return &o.IoUID }),
		"io_gid":           id(func(o *Options) *uint32 { return &o.IoGID }),
		"log_level":        setLogLevel,
		"log_path":         text(func(o *Options) *string { return &o.LogPath }, checkAbsoluteOrEmpty),
		"grouping":         boolean(func(o *Options) *bool { return &o.Grouping }),
		"control":          setControl,
		"kubelet_root":     text(func(o *Options) *string { return &o.KubeletRoot }, checkAbsoluteOrEmpty),
		"port_forward":     boolean(func(o *Options) *bool { return &o.PortForward }),
		"share_empty_dirs": boolean(func(o *Options) *bool { return &o.ShareEmptyDirs }),
		runscConfigKey:     setRunscConfig,
		// gVisor's shim knows this key, so it is in people's files.
		"enable_hibernate_server": checkHibernate,
	}
}

// parse reads a configuration. said is false if it sets no option at all. In a
// body the keys of containerd's own options table may stand beside ours.
func parse(source string, data []byte, body bool) (o Options, said bool, err error) {
	table := map[string]any{}
	if err := decode(data, &table); err != nil {
		return Options{}, false, fmt.Errorf("%s: %w: %w", source, err, errdefs.ErrInvalidArgument)
	}
	o = Default()
	known := setters()
	// Sorted, so that of several mistakes always the same one is reported.
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if body {
			taken, err := takeEnvelope(key, table[key])
			if err != nil {
				return Options{}, false, badKey(source, key, err)
			}
			if taken {
				continue
			}
		}
		set, ok := known[key]
		if !ok {
			return Options{}, false, badKey(source, key, unknownKey(key, known))
		}
		if err := set(&o, table[key]); err != nil {
			return Options{}, false, badKey(source, key, err)
		}
		said = true
	}
	return o, said, nil
}

// maxNesting bounds how deep values and dotted keys may nest. A configuration
// needs two levels.
const maxNesting = 100

// decode is toml.Unmarshal behind guards: the decoder recurses with the nesting
// of values, and its work grows with the square of a key's parts.
func decode(data []byte, table *map[string]any) error {
	brackets, dots := 0, 0
	for _, b := range data {
		switch b {
		case '[', '{':
			brackets++
		case ']', '}':
			brackets = max(brackets-1, 0)
		case '.':
			dots++
		case '=', '\n':
			dots = 0
		}
		if brackets > maxNesting || dots > maxNesting {
			return fmt.Errorf("values or keys nest more than %d levels deep", maxNesting)
		}
	}
	return toml.Unmarshal(data, table)
}

// takeEnvelope accepts the keys by which containerd's configuration describes a
// body. containerd takes their names in any case.
func takeEnvelope(key string, value any) (bool, error) {
	s, isText := value.(string)
	switch strings.ToLower(key) {
	case "typeurl", "type_url":
		if !isText {
			return false, wrongType("a string", value)
		}
		return true, checkConfigType(s)
	case "configpath", "config_path":
		// A path that is set arrives as the message's config_path instead.
		if !isText || s != "" {
			return false, errors.New("want nothing here: the path belongs into the message's config_path")
		}
		return true, nil
	default:
		return false, nil
	}
}

// badKey says which key of which source is wrong, and why.
func badKey(source, key string, err error) error {
	return fmt.Errorf("%s: key %q: %w: %w", source, key, err, errdefs.ErrInvalidArgument)
}

// unknownKey says what the writer of an unknown key may have meant.
func unknownKey(key string, known map[string]setter) error {
	names := slices.Sorted(maps.Keys(known))
	names = slices.DeleteFunc(names, func(n string) bool { return n == "enable_hibernate_server" })
	all := "known are " + strings.Join(names, ", ")
	// runc's options table is often copied.
	if plain := plainName(key); plain == plainName(systemdCgroupKey) {
		return fmt.Errorf("unknown; write %s = true under [%s]", systemdCgroupKey, runscConfigKey)
	}
	if best := closest(key, names); best != "" {
		return fmt.Errorf("unknown; did you mean %q? (%s)", best, all)
	}
	return fmt.Errorf("unknown; %s; a flag of runsc belongs under [%s]", all, runscConfigKey)
}
