package adapt

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"containerd-shim-runsc/utils/oci"
)

// plainSpec is what clients ask for by default, and nothing else.
func plainSpec() *specs.Spec {
	return &specs.Spec{
		Process:  &specs.Process{},
		Root:     &specs.Root{Path: "rootfs"},
		Hostname: "web",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
			{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.CgroupNamespace},
		}},
	}
}

// flags returns options for a root whose runsc has these flags.
func flags(t *testing.T, values map[string]string) Options {
	t.Helper()
	o := root()
	o.Bundle = t.TempDir()
	if err := os.Mkdir(filepath.Join(o.Bundle, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	o.Flag = func(name string) string { return values[name] }
	return o
}

func in(pod string, o Options) Options {
	o.Place = oci.Place{SandboxID: pod}
	return o
}

func has(r Result, usual bool, words ...string) bool {
	return slices.ContainsFunc(r.Notes, func(n Note) bool {
		return n.Usual == usual && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(n.Text, w) })
	})
}

func dropNamespace(s *specs.Spec, kind specs.LinuxNamespaceType) {
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
}

// What clients hide and protect by default costs nothing.
func TestUsualPathsNeedNothing(t *testing.T) {
	s := plainSpec()
	s.Linux.MaskedPaths = []string{"/proc/acpi", "/proc/kcore", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}
	s.Linux.ReadonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"}
	r, err := Spec(t.Context(), s, flags(t, nil))
	if err != nil || r.Changed || len(r.Flags) > 0 || len(r.Notes) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestPlainSpecNeedsNothing(t *testing.T) {
	r, err := Spec(t.Context(), plainSpec(), flags(t, nil))
	if err != nil || r.Changed || len(r.Flags) > 0 || len(r.Notes) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestNotes(t *testing.T) {
	for name, tt := range map[string]struct {
		edit  func(*specs.Spec)
		usual bool
		words []string
	}{
		"host pid": {func(s *specs.Spec) { dropNamespace(s, specs.PIDNamespace) }, false, []string{"host's processes"}},
		"host ipc": {func(s *specs.Spec) { dropNamespace(s, specs.IPCNamespace) }, false, []string{"IPC objects"}},
		"time namespace": {func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		}, false, []string{"time namespace"}},
		"another's pid":  {func(s *specs.Spec) { s.Linux.Namespaces[0].Path = "/proc/1/ns/mnt" }, false, []string{"/proc/1/ns/mnt"}},
		"seccomp":        {func(s *specs.Spec) { s.Linux.Seccomp = &specs.LinuxSeccomp{} }, true, []string{"seccomp", "oci-seccomp=true"}},
		"apparmor":       {func(s *specs.Spec) { s.Process.ApparmorProfile = "mine" }, false, []string{`"mine"`}},
		"usual apparmor": {func(s *specs.Spec) { s.Process.ApparmorProfile = "cri-containerd.apparmor.d" }, true, []string{"AppArmor"}},
		"mount label":    {func(s *specs.Spec) { s.Linux.MountLabel = "a:b:c" }, false, []string{`"a:b:c"`}},
		"raw": {func(s *specs.Spec) {
			s.Process.Capabilities = &specs.LinuxCapabilities{Permitted: []string{"CAP_NET_RAW"}}
		}, true, []string{"CAP_NET_RAW", "net-raw=true"}},
		"sysctl": {func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net.core.somaxconn": "9"} }, false, []string{"net.core.somaxconn=9"}},
		"devices": {func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/kvm", Type: "c", Major: 10, Minor: 232}}
		}, false, []string{"/dev/kvm"}},
		"personality":   {func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32} }, false, []string{"LINUX32"}},
		"rdt":           {func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "gold"} }, false, []string{"gold"}},
		"hook":          {func(s *specs.Spec) { s.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/hook"}}} }, false, []string{"/bin/hook"}},
		"scheduler":     {func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{} }, false, []string{"scheduler"}},
		"net device":    {func(s *specs.Spec) { s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth9": {}} }, false, []string{"eth9"}},
		"memory policy": {func(s *specs.Spec) { s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{} }, false, []string{"memoryPolicy"}},
		"mqueue": {func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/dev/mqueue", Type: "mqueue"})
		}, true, []string{"/dev/mqueue"}},
		"file system":     {func(s *specs.Spec) { s.Mounts = append(s.Mounts, specs.Mount{Destination: "/d", Type: "debugfs"}) }, false, []string{"debugfs", "/d"}},
		"mount option":    {func(s *specs.Spec) { s.Mounts[3].Options = append(s.Mounts[3].Options, "tmpcopyup") }, false, []string{"tmpcopyup", "/dev/shm"}},
		"hidden pids":     {func(s *specs.Spec) { s.Mounts[0].Options = []string{"hidepid=2"} }, false, []string{"hidepid=2"}},
		"symbolic links":  {func(s *specs.Spec) { s.Mounts[3].Options = []string{"rnosymfollow"} }, false, []string{"nosymfollow"}},
		"read-only procs": {func(s *specs.Spec) { s.Linux.ReadonlyPaths = []string{"/proc/sys"} }, true, []string{"/proc/sys"}},
		"read-only self":  {func(s *specs.Spec) { s.Linux.ReadonlyPaths = []string{"/proc/self/attr"} }, false, []string{"/proc/self/attr"}},
		"masked self":     {func(s *specs.Spec) { s.Linux.MaskedPaths = []string{"/proc/sys/kernel/sem"} }, false, []string{"/proc/sys/kernel/sem"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := plainSpec()
			tt.edit(s)
			r, err := Spec(t.Context(), s, flags(t, nil))
			if err != nil || len(r.Notes) != 1 || !has(r, tt.usual, tt.words...) {
				t.Errorf("%+v, %v", r.Notes, err)
			}
		})
	}
}

// TestNotesOfResources: a container that is alone in its sandbox has what it asks for.
func TestNotesOfResources(t *testing.T) {
	for name, tt := range map[string]struct {
		res   specs.LinuxResources
		usual bool
		words []string
	}{
		"a cpuset": {
			specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "2-3"}, Pids: &specs.LinuxPids{Limit: ptr(int64(9))}},
			false, []string{"cpu.cpus 2-3", "pids.limit"},
		},
		"a kubelet's": {
			specs.LinuxResources{
				Memory:         &specs.LinuxMemory{Limit: ptr(int64(9)), Swap: ptr(int64(9))},
				HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB"}},
				Unified:        map[string]string{"memory.oom.group": "1"},
			},
			true, []string{"memory.swap", "memory.oom.group"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, alone := range []bool{false, true} {
				s, o := plainSpec(), flags(t, nil)
				o.Place.Root = alone
				s.Linux.Resources = &tt.res
				r, err := Spec(t.Context(), s, o)
				if err != nil || has(r, tt.usual, tt.words...) == alone {
					t.Errorf("alone %t: %+v, %v", alone, r.Notes, err)
				}
			}
		})
	}
}

func TestFlagsMakeNotesNeedless(t *testing.T) {
	s := plainSpec()
	s.Linux.Seccomp = &specs.LinuxSeccomp{}
	s.Process.Capabilities = &specs.LinuxCapabilities{Permitted: []string{"CAP_NET_RAW"}}
	r, err := Spec(t.Context(), s, flags(t, map[string]string{"oci-seccomp": "true", "net-raw": "true"}))
	if err != nil || len(r.Notes) > 0 {
		t.Errorf("%+v, %v", r.Notes, err)
	}
}

func TestSysctlsThatHold(t *testing.T) {
	s := plainSpec()
	s.Linux.Sysctl = map[string]string{
		"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647", "fs.nr_open": "4096",
	}
	if r, err := Spec(t.Context(), s, flags(t, nil)); err != nil || len(r.Notes) > 0 {
		t.Errorf("%+v, %v", r.Notes, err)
	}
	s.Linux.Sysctl["net.ipv4.ip_unprivileged_port_start"] = "1024"
	if r, err := Spec(t.Context(), s, flags(t, nil)); err != nil || !has(r, false, "port_start=1024") {
		t.Errorf("%+v, %v", r.Notes, err)
	}
	// The sandbox is there already.
	delete(s.Linux.Sysctl, "net.ipv4.ip_unprivileged_port_start")
	if r, err := Spec(t.Context(), s, in("pod", flags(t, nil))); err != nil || !has(r, false, "fs.nr_open=4096") {
		t.Errorf("%+v, %v", r.Notes, err)
	}
}

func TestManyDevicesAreOneNote(t *testing.T) {
	s := plainSpec()
	for _, name := range strings.Split("abcdefghij", "") {
		s.Linux.Devices = append(s.Linux.Devices, specs.LinuxDevice{Path: "/dev/sd" + name, Type: "b", Major: 8})
	}
	s.Linux.Devices = append(s.Linux.Devices, specs.LinuxDevice{Path: "/dev/null", Type: "c", Major: 1, Minor: 3})
	if r, err := Spec(t.Context(), s, flags(t, nil)); err != nil || len(r.Notes) != 1 || !has(r, false, "/dev/sda", "and 5 more") {
		t.Errorf("%+v, %v", r.Notes, err)
	}
}

func TestRefused(t *testing.T) {
	mount := func(options ...string) func(*specs.Spec) {
		return func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/v", Type: "bind", Source: "/", Options: options})
		}
	}
	for name, tt := range map[string]struct {
		edit func(*specs.Spec)
		is   func(error) bool
		word string
	}{
		"selinux":           {func(s *specs.Spec) { s.Process.SelinuxLabel = "a:b:c" }, errdefs.IsNotImplemented, "SELinux"},
		"bidirectional":     {mount("rbind", "rshared"), errdefs.IsNotImplemented, "rshared"},
		"unbindable":        {mount("rbind", "runbindable"), errdefs.IsNotImplemented, "runbindable"},
		"not recursive":     {mount("bind", "ro"), errdefs.IsNotImplemented, "rbind"},
		"root's":            {func(s *specs.Spec) { s.Linux.RootfsPropagation = "shared" }, errdefs.IsNotImplemented, "rootfsPropagation"},
		"root's wrong":      {func(s *specs.Spec) { s.Linux.RootfsPropagation = "wide" }, errdefs.IsInvalidArgument, "wide"},
		"no mappings":       {func(s *specs.Spec) { withUser(s, "/proc/1/ns/mnt", 0) }, errdefs.IsNotImplemented, "mappings"},
		"relative":          {func(s *specs.Spec) { s.Linux.MaskedPaths = []string{"etc"} }, errdefs.IsInvalidArgument, "etc"},
		"all masked":        {func(s *specs.Spec) { s.Linux.MaskedPaths = []string{"/"} }, errdefs.IsInvalidArgument, "root"},
		"read-only in bind": {func(s *specs.Spec) { mount("rbind")(s); s.Linux.ReadonlyPaths = []string{"/v/etc"} }, errdefs.IsNotImplemented, "/v"},
	} {
		t.Run(name, func(t *testing.T) {
			s := plainSpec()
			tt.edit(s)
			_, err := Spec(t.Context(), s, flags(t, nil))
			if err == nil || !tt.is(err) || !strings.Contains(err.Error(), tt.word) {
				t.Error(err)
			}
		})
	}
}

func TestRecursiveOptions(t *testing.T) {
	s := plainSpec()
	s.Mounts = append(s.Mounts, specs.Mount{
		Destination: "/v", Type: "bind", Source: "/etc", Options: []string{"rbind", "rro", "rnosuid", "rprivate", "noexec"},
	})
	r, err := Spec(t.Context(), s, flags(t, nil))
	if err != nil || !r.Changed || len(r.Notes) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if got, want := s.Mounts[len(s.Mounts)-1].Options, []string{"rbind", "ro", "nosuid", "rprivate", "noexec"}; !slices.Equal(got, want) {
		t.Errorf("options %q", got)
	}
}

func TestFeatures(t *testing.T) {
	f := features.Features{MountOptions: []string{"bind", "nosuid", "ro", "rslave"}}
	AddFeatures(&f)
	AddFeatures(&f)
	if want := []string{"bind", "nosuid", "rnosuid", "ro", "rro", "rslave"}; !slices.Equal(f.MountOptions, want) {
		t.Errorf("mount options %q", f.MountOptions)
	}
}

func TestHostNetwork(t *testing.T) {
	const own = "/proc/thread-self/ns/net"
	for name, tt := range map[string]struct {
		path   string // "-": no namespace
		flag   string
		want   string
		note   string
		is     func(error) bool
		inside bool
	}{
		"none named":             {path: "-", want: "--network=host"},
		"the host's":             {path: own, want: "--network=host"},
		"new":                    {},
		"another":                {path: "/proc/self/ns/mnt"},
		"a container's":          {path: own, want: "--network=host", inside: true},
		"host by configuration":  {path: "-", flag: "host"},
		"no network":             {path: "-", flag: "none", note: "network=none"},
		"gVisor's":               {path: "-", flag: "sandbox", note: "network=sandbox"},
		"gVisor's in the host's": {path: own, flag: "sandbox", is: errdefs.IsFailedPrecondition},
	} {
		t.Run(name, func(t *testing.T) {
			s := plainSpec()
			dropNamespace(s, specs.NetworkNamespace)
			if tt.path != "-" {
				s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: tt.path})
			}
			o := flags(t, map[string]string{"network": tt.flag})
			if tt.inside {
				o = in("pod", o)
			}
			r, err := Spec(t.Context(), s, o)
			if tt.is != nil {
				if !tt.is(err) {
					t.Error(err)
				}
				return
			}
			if err != nil || strings.Join(r.Flags, " ") != tt.want || tt.note != "" && !has(r, false, tt.note) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func withUser(s *specs.Spec, path string, size uint32) {
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: path})
	if size > 0 {
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 100000, Size: size}}
		s.Linux.GIDMappings = s.Linux.UIDMappings
	}
}

func TestUserNamespace(t *testing.T) {
	s := plainSpec()
	withUser(s, "/proc/1/ns/mnt", 65536)
	s.Mounts[4] = specs.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: []string{"rbind", "rro", "nosuid"}}
	r, err := Spec(t.Context(), s, flags(t, nil))
	if ns, ok := namespace(s, specs.UserNamespace); err != nil || !r.Changed || !ok || ns.Path != "" || len(s.Linux.UIDMappings) != 1 {
		t.Errorf("%+v, %+v, %v", s.Linux, r, err)
	}
	if m := s.Mounts[4]; m.Type != "sysfs" || !slices.Equal(m.Options, []string{"ro", "nosuid"}) {
		t.Errorf("/sys is %+v", m)
	}

	s = plainSpec()
	withUser(s, "/proc/thread-self/ns/user", 65536)
	r, err = Spec(t.Context(), s, flags(t, nil))
	if _, ok := namespace(s, specs.UserNamespace); err != nil || !r.Changed || ok || len(s.Linux.UIDMappings)+len(s.Linux.GIDMappings) > 0 {
		t.Errorf("%+v, %+v, %v", s.Linux, r, err)
	}
}

func TestHostName(t *testing.T) {
	s := plainSpec()
	dropNamespace(s, specs.UTSNamespace)
	s.Hostname = ""
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Spec(t.Context(), s, flags(t, nil)); err != nil || !r.Changed || s.Hostname != name {
		t.Errorf("%q, %+v, %v", s.Hostname, r, err)
	}
}

func TestContainersShareLimits(t *testing.T) {
	s := plainSpec()
	s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 9, Hard: 9}}
	if r, err := Spec(t.Context(), s, flags(t, nil)); err != nil || len(r.Notes) > 0 {
		t.Errorf("%+v, %v", r.Notes, err)
	}
	if r, err := Spec(t.Context(), s, in("pod", flags(t, nil))); err != nil || !has(r, false, "resource limits") {
		t.Errorf("%+v, %v", r.Notes, err)
	}
}

func TestContainersShare(t *testing.T) {
	s := plainSpec()
	if r, err := Spec(t.Context(), s, in("pod", flags(t, nil))); err != nil || len(r.Notes) != 1 || !has(r, true, "network, ipc, uts") {
		t.Errorf("%+v, %v", r, err)
	}
}
