package contract

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/test/harness"
)

// What gVisor has not is named in the log: what somebody has chosen in one warning for
// each container, what clients ask for by default once in a sandbox, and quietly.
func TestS6_LeftOutIsLogged(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		edit := func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
			s.Process.ApparmorProfile = "cri-containerd.apparmor.d"
		}
		e.Running(harness.Container{ID: "pod", Sandbox: true})
		e.Running(harness.Container{ID: "web", Pod: "pod", Edit: edit})
		e.Running(harness.Container{ID: "db", Pod: "pod", Edit: func(s *specs.Spec) {
			edit(s)
			s.Process.ApparmorProfile = "mine"
			s.Linux.Sysctl = map[string]string{"net.core.somaxconn": "4096"}
			s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
		}})
		e.AwaitLog("somaxconn")
		if said := e.Logged("level=warning", "container db", `AppArmor profile \"mine\"`, "net.core.somaxconn=4096", "LINUX32"); len(said) != 1 {
			t.Errorf("the warnings of db are %q", e.Logged("level=warning"))
		}
		if said := e.Logged("level=info", "seccomp profile", "oci-seccomp=true"); len(said) != 1 || !strings.Contains(said[0], "container web") {
			t.Errorf("of seccomp the log has %q", said)
		}
		if said := e.Logged("level=info", "AppArmor profile", "cri-containerd.apparmor.d"); len(said) != 1 {
			t.Errorf("of AppArmor the log has %q", said)
		}
		if said := e.Logged("level=warning", "container web"); len(said) > 0 {
			t.Errorf("the log warns of what is usual: %q", said)
		}
	})
}

func TestS6_Selinux(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		k := e.Prepare(harness.Container{ID: "web", Edit: func(s *specs.Spec) {
			s.Process.SelinuxLabel = "system_u:system_r:container_t:s0"
		}})
		_, err := k.TryCreate()
		notImplemented.want(t, "create", err)
		if err != nil && !strings.Contains(err.Error(), "SELinux") {
			t.Errorf("create: %v", err)
		}
		k.Forget()
	})
}

// With runsc's flag, a profile holds for the container's init and for execs.
func TestS6_Seccomp(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		e.Flags = "oci-seccomp = \"true\"\n"
		noMkdir := func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{
				DefaultAction: specs.ActAllow,
				Architectures: []specs.Arch{specs.ArchX86_64},
				Syscalls:      []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno}},
			}
		}
		try := harness.Shell("mkdir /made 2>/dev/null && echo made; cat /proc/self/status | { while read k v; do [ $k = Seccomp: ] && echo $k $v; done; }")
		k := e.Running(harness.Container{ID: "web", Args: harness.Shell(try[2] + "\nread x"), Edit: noMkdir})
		k.IO.Out.Until(t, "Seccomp")
		if !e.Old() { // that one filters init alone
			p := k.ExecRunning(harness.ExecOptions{ID: "e1", Args: try})
			p.Wait()
			lines(t, p.IO.Out.All(t), "Seccomp: 2")
		}
		k.IO.Write("x\n")
		k.Wait()
		lines(t, k.IO.Out.All(t), "Seccomp: 2")
		if said := e.Logged("seccomp profile"); len(said) > 0 {
			t.Errorf("the log has %q", said)
		}
	})
}

// gVisor takes a few sysctls from the sandbox's root container.
func TestS6_Sysctls(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		if e.Old() {
			t.Skip("this runsc has no fs.nr_open")
		}
		e.Running(harness.Container{ID: "pod", Sandbox: true, Edit: func(s *specs.Spec) {
			s.Linux.Sysctl = map[string]string{"fs.nr_open": "123456"}
		}})
		out := output(t, e, harness.Container{ID: "web", Pod: "pod", Args: harness.Shell("cat /proc/sys/fs/nr_open")})
		if strings.TrimSpace(out) != "123456" {
			t.Errorf("fs.nr_open is %q", out)
		}
		if said := e.Logged("nr_open"); len(said) > 0 {
			t.Errorf("the log has %q", said)
		}
	})
}
