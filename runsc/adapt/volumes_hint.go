package adapt

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// hintPrefix begins the annotations by which runsc is told of a mount of a pod's
// containers: dev.gvisor.spec.mount.<name>.<field>. They count on the sandbox's own spec,
// when it is created (boot.PodMountHints in runsc).
const hintPrefix = "dev.gvisor.spec.mount."

// What a hint's fields may be.
const (
	typeTmpfs = "tmpfs"
	typeBind  = "bind"

	shareContainer = "container"
	sharePod       = "pod"
	shareHost      = "shared"
)

// hint is what runsc is told of the mounts of one source.
type hint struct {
	name, source string
	// kind is what is mounted in the sandbox: typeTmpfs or typeBind.
	kind string
	// share says who uses it: one container, the pod's, or also the host.
	share             string
	options, directfs string
	// memory tells that the containers' mounts become a tmpfs: the content is in the
	// sandbox's memory then, and not in a file in the source.
	memory bool
	// ours tells that no annotation asks for the hint.
	ours bool
	// given tells that an annotation has the source. It is never used as a path to mount:
	// its author could make it a link to anything.
	given bool
}

// inSandbox tells that the sandbox keeps the content for all of its containers, instead
// of asking the host for it.
func (h hint) inSandbox() bool {
	return h.kind == typeTmpfs && (h.share == sharePod || h.share == shareContainer)
}

// complete tells that runsc takes the hint.
func (h hint) complete() bool { return h.source != "" && h.kind != "" && h.share != "" }

// set sets a field, or says what is wrong.
func (h *hint) set(field, value string) error {
	choose := func(f *string, from ...string) error {
		if !slices.Contains(from, value) {
			return fmt.Errorf("want one of %s, have %q", strings.Join(from, ", "), value)
		}
		*f = value
		return nil
	}
	switch field {
	case "source":
		if !filepath.IsAbs(value) {
			return fmt.Errorf("want an absolute path, have %q", value)
		}
		h.source = value
		return nil
	case "type":
		return choose(&h.kind, typeTmpfs, typeBind)
	case "share":
		return choose(&h.share, shareContainer, sharePod, shareHost)
	case "options":
		h.options = value
		return nil
	case "directfs":
		return choose(&h.directfs, "default", "off")
	default:
		return fmt.Errorf("there is no field %q", field)
	}
}

// Annotations of ours beside the hints: which of them have memory set, and which given.
const (
	inMemory = ownPrefix + "volumes-in-memory"
	bySource = ownPrefix + "volumes-by-source"
)

// readHints returns the hints that annotations give, by name, and says what in them means
// nothing. Of that, runsc would refuse the sandbox for some.
func readHints(annotations map[string]string) (hints map[string]*hint, wrong []string) {
	hints = map[string]*hint{}
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		rest, ok := strings.CutPrefix(key, hintPrefix)
		if !ok {
			continue
		}
		name, field, _ := strings.Cut(rest, ".")
		if name == "" || field == "" || strings.Contains(rest, "/") {
			wrong = append(wrong, fmt.Sprintf("annotation %s is no %s<volume>.<field>", key, hintPrefix))
			continue
		}
		h := hints[name]
		if h == nil {
			h = &hint{name: name}
		}
		if err := h.set(field, annotations[key]); err != nil {
			wrong = append(wrong, fmt.Sprintf("annotation %s: %v", key, err))
			continue
		}
		hints[name] = h
	}
	for name := range strings.SplitSeq(annotations[inMemory], ",") {
		if h := hints[name]; h != nil {
			h.memory = h.inSandbox()
		}
	}
	for name := range strings.SplitSeq(annotations[bySource], ",") {
		if h := hints[name]; h != nil {
			h.given = true
		}
	}
	return hints, wrong
}

// annotations returns the hint as runsc reads it.
func (h hint) annotations() map[string]string {
	all := map[string]string{}
	for field, value := range map[string]string{
		"source": h.source, "type": h.kind, "share": h.share, "options": h.options, "directfs": h.directfs,
	} {
		if value != "" {
			all[hintPrefix+h.name+"."+field] = value
		}
	}
	return all
}

// setHints makes these the spec's only hints.
func (a *adaptation) setHints(hints []*hint) {
	for key := range a.spec.Annotations {
		if strings.HasPrefix(key, hintPrefix) || key == inMemory || key == bySource {
			delete(a.spec.Annotations, key)
			a.Changed = true
		}
	}
	var memory, given []string
	for _, h := range hints {
		for key, value := range h.annotations() {
			a.annotate(key, value)
		}
		if h.memory {
			memory = append(memory, h.name)
		}
		if h.given {
			given = append(given, h.name)
		}
	}
	for key, names := range map[string][]string{inMemory: memory, bySource: given} {
		if len(names) > 0 {
			a.annotate(key, strings.Join(names, ","))
		}
	}
}

// tmpfsOptions are the options of a tmpfs that runsc knows. It takes them from the hint;
// the rest of how a volume is mounted is each container's own.
func tmpfsOptions() map[string]func(string) error {
	number := func(base int) func(string) error {
		return func(s string) error {
			_, err := strconv.ParseUint(s, base, 32)
			return err
		}
	}
	return map[string]func(string) error{"mode": number(8), "uid": number(10), "gid": number(10), "size": checkSize}
}

// checkSize accepts what a tmpfs of runsc takes for its size: a number of bytes, with one
// letter behind it for their unit, or a percentage.
func checkSize(s string) error {
	digits, shift := s, 0
	if n := len(s) - 1; n >= 0 {
		if unit := strings.IndexByte("kmgtpe", s[n]|0x20); unit >= 0 {
			digits, shift = s[:n], 10*(unit+1)
		} else if s[n] == '%' {
			digits = s[:n]
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err == nil && n > math.MaxInt64>>shift {
		return fmt.Errorf("%s is too much", s)
	}
	return err
}

// tmpfsOptions returns those of the hint's options that may be given to a tmpfs, with what
// the defaults say where the hint does not. A restriction in a hint would make runsc refuse
// every container that mounts the volume without it, so it is left out and noted.
func (a *adaptation) tmpfsOptions(h hint, defaults []string) string {
	given := map[string]bool{}
	var options []string
	for option := range strings.SplitSeq(h.options, ",") {
		key, value, _ := strings.Cut(option, "=")
		check := tmpfsOptions()[key]
		switch {
		case check == nil:
			if slices.Contains([]string{"ro", "noexec", "nosuid", "noatime"}, option) {
				a.note("volume %s: option %s of its annotation has no effect; each container's mount has its own", h.name, option)
			}
		case check(value) != nil:
			a.note("volume %s: option %q of its annotation is ignored: %v", h.name, option, check(value))
		default:
			options = append(options, option)
			given[key] = true
		}
	}
	for _, option := range defaults {
		if key, _, _ := strings.Cut(option, "="); !given[key] {
			options = append(options, option)
		}
	}
	return strings.Join(options, ",")
}

// isBind tells that the mount is a folder or file of the host. The type may be anything if
// the options say so.
func isBind(m specs.Mount) bool {
	return m.Type == typeBind || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

// toTmpfs makes of a bind mount one of a tmpfs.
func toTmpfs(m *specs.Mount) {
	m.Type = typeTmpfs
	m.Options = slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "bind" || o == "rbind" })
}
