package adapt

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// namespace returns the spec's namespace of a type.
func namespace(spec *specs.Spec, kind specs.LinuxNamespaceType) (ns specs.LinuxNamespace, ok bool) {
	if spec.Linux == nil {
		return specs.LinuxNamespace{}, false
	}
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == kind {
			return ns, true
		}
	}
	return specs.LinuxNamespace{}, false
}

// isHosts tells whether a path is that of one of the shim's own namespaces, which are
// the host's.
func (a *adaptation) isHosts(path, file string) bool {
	// Not of the process: its first thread may be elsewhere for a moment.
	return path != "" && a.sameFile(path, "/proc/thread-self/ns/"+file)
}

// takeUserNamespace makes runsc put the sandbox and what serves its files into a user
// namespace like the one that is asked for.
//
// CRI names the namespace that it made for the pod. runsc has several threads when it
// joins it, and then the kernel does not let it. A new one with the same mappings is as
// good: nothing of a container is done in it but access to files, which counts by the
// mappings, and the network is entered from outside.
func takeUserNamespace(a *adaptation) error {
	ns, ok := namespace(a.spec, specs.UserNamespace)
	if !ok || ns.Path == "" {
		return nil
	}
	linux := a.spec.Linux
	if a.isHosts(ns.Path, "user") {
		linux.Namespaces = slices.DeleteFunc(linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
		linux.UIDMappings, linux.GIDMappings = nil, nil
		a.Changed = true
		return nil
	}
	if len(linux.UIDMappings) == 0 || len(linux.GIDMappings) == 0 {
		return fmt.Errorf("user namespace %s: runsc cannot join it, and the spec has no mappings for another like it: %w",
			ns.Path, errdefs.ErrNotImplemented)
	}
	for i := range linux.Namespaces {
		if linux.Namespaces[i].Type == specs.UserNamespace {
			linux.Namespaces[i].Path = ""
		}
	}
	a.Changed = true
	return nil
}

// noteNamespaces notes the namespaces that a sandbox cannot be in. It has processes, IPC
// objects and a host name of its own, which all its containers share if they are told to.
func noteNamespaces(a *adaptation) error {
	if a.Place.Root {
		if err := a.noteHosts(); err != nil {
			return err
		}
	} else {
		a.noteShared()
	}
	if a.spec.Linux == nil {
		return nil
	}
	for _, ns := range a.spec.Linux.Namespaces {
		switch ns.Type {
		case specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.UserNamespace:
		case specs.CgroupNamespace:
			// The sandbox's cgroups are its own in any case.
		case specs.MountNamespace:
			if ns.Path != "" {
				a.note("gVisor cannot join the mount namespace %s", ns.Path)
			}
		default:
			a.note("gVisor has no %s namespace", ns.Type)
		}
	}
	return nil
}

// noteHosts notes what a sandbox would share with the host or with another sandbox.
func (a *adaptation) noteHosts() error {
	switch pid, ok := namespace(a.spec, specs.PIDNamespace); {
	case !ok, a.isHosts(pid.Path, "pid"):
		a.note("gVisor cannot show the host's processes: the container sees those of its sandbox")
	case pid.Path != "":
		a.note("gVisor cannot join the pid namespace %s: the container sees the processes of its sandbox", pid.Path)
	}
	if ipc, ok := namespace(a.spec, specs.IPCNamespace); !ok || a.isHosts(ipc.Path, "ipc") {
		a.note("gVisor cannot share IPC objects with the host: the sandbox has its own")
	} else if ipc.Path != "" {
		// As CRI-O does for each pod, with one that is new.
		a.usual("gVisor does not join IPC namespaces: the sandbox has IPC objects of its own")
	}
	uts, ok := namespace(a.spec, specs.UTSNamespace)
	if ok && !a.isHosts(uts.Path, "uts") || a.spec.Hostname != "" {
		return nil
	}
	// There is no way to share the host's name, so the sandbox gets what it is now.
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read the host's name: %w", err)
	}
	a.spec.Hostname = name
	a.Changed = true
	return nil
}

// noteShared notes what a container would have for itself.
func (a *adaptation) noteShared() {
	var shared []string
	for _, kind := range []specs.LinuxNamespaceType{specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace} {
		if ns, ok := namespace(a.spec, kind); ok && ns.Path == "" {
			shared = append(shared, string(kind))
		}
	}
	if len(shared) > 0 {
		a.usual("the containers of a sandbox share its namespaces: %s", strings.Join(shared, ", "))
	}
}
