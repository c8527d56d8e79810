package contract

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/test/harness"
)

// onHost checks that a volume is a folder of the host: what is written on either side is
// there on the other.
func onHost(t *testing.T, k *harness.Task, inside, path string) {
	t.Helper()
	in(t, k, "echo inside >"+inside+"/from-inside")
	if b, err := os.ReadFile(filepath.Join(path, "from-inside")); string(b) != "inside\n" {
		t.Errorf("the host has %q, %v", b, err)
	}
	if err := os.WriteFile(filepath.Join(path, "from-outside"), []byte("outside\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := in(t, k, "cat "+inside+"/from-outside"); got != "outside" {
		t.Errorf("%s has %q from the host", k.ID, got)
	}
}

// inSandbox checks that a volume is one that two containers have in their sandbox.
func inSandbox(t *testing.T, one, two *harness.Task, path string) {
	t.Helper()
	in(t, one, "mkfifo "+path+"/fifo")
	p := begin(t, one, "echo open; cat "+path+"/fifo", "open")
	if out, status := try(t, two, "[ -p "+path+"/fifo ] && echo through >"+path+"/fifo"); status != 0 {
		t.Errorf("the other container cannot write to the FIFO: %s", out)
		return
	}
	p.WaitFor(0)
}

func TestVolumes_Annotated(t *testing.T) {
	const mount = "dev.gvisor.spec.mount.data."
	for name, tc := range map[string]struct {
		annotations []string
		config      string
		shared      bool
		logged      string
	}{
		"as an admission webhook does it": {[]string{mount + "type=bind", mount + "share=pod", mount + "options=rw,rprivate"}, "", true, ""},
		"in memory":                       {[]string{mount + "type=tmpfs", mount + "share=pod", mount + "options=size=4m"}, "", true, ""},
		"for a container":                 {[]string{mount + "type=bind", mount + "share=container"}, "", true, ""},
		"with recognition turned off":     {[]string{mount + "share=pod"}, "share_empty_dirs = false\n", true, ""},
		"the host's":                      {[]string{mount + "share=shared"}, "", false, ""},
		"the host's, with a type":         {[]string{mount + "share=shared", mount + "type=bind"}, "", false, ""},
		"forced to be the host's":         {[]string{"dev.gvisor.empty-dir.data.force-shared=true"}, "", false, ""},
		"forced against a hint":           {[]string{"dev.gvisor.empty-dir.data.force-shared=true", mount + "type=bind", mount + "share=pod"}, "", false, ""},
		"recognition turned off":          {nil, "share_empty_dirs = false\n", false, ""},

		"no such volume":        {[]string{"dev.gvisor.spec.mount.other.type=bind", "dev.gvisor.spec.mount.other.share=pod"}, "", true, "match no volume of the pod"},
		"no such source":        {[]string{mount + "type=bind", mount + "share=pod", mount + "source=/nonexistent"}, "", true, "/nonexistent"},
		"a relative source":     {[]string{mount + "source=x"}, "", true, "want an absolute path"},
		"no field":              {[]string{"dev.gvisor.spec.mount.data=x"}, "", true, "<volume>.<field>"},
		"no name":               {[]string{"dev.gvisor.spec.mount..type=bind"}, "", true, "<volume>.<field>"},
		"too many parts":        {[]string{mount + "type.x=bind"}, "", true, "there is no field"},
		"an unknown type":       {[]string{mount + "type=ext4", mount + "share=pod"}, "", true, "want one of tmpfs, bind"},
		"an unknown share":      {[]string{mount + "share=all"}, "", true, "want one of container, pod, shared"},
		"a size that is none":   {[]string{mount + "share=pod", mount + "options=size=large"}, "", true, "size=large"},
		"a restriction for all": {[]string{mount + "share=pod", mount + "options=ro,nosuid"}, "", true, "option nosuid"},
		"no boolean":            {[]string{"dev.gvisor.empty-dir.data.force-shared=yes"}, "", true, "want true or false"},
	} {
		t.Run(name, func(t *testing.T) {
			onRecent(t, func(t *testing.T, e *harness.Env) {
				p := newKubelet(t, e).pod("pod")
				e.Config += tc.config
				p.annotate(tc.annotations...)
				path := p.emptyDir("data")
				tasks := p.run(p.container("one", bind(path, "/data")), p.container("two", bind(path, "/data")))
				if tc.shared {
					inSandbox(t, tasks[1], tasks[2], "/data")
				} else {
					onHost(t, tasks[1], "/data", path)
				}
				if tc.logged != "" {
					e.AwaitLog(tc.logged)
				}
			})
		})
	}
}

func TestVolumes_TwoHintsOfOneSource(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		p := newKubelet(t, e).pod("pod")
		path := p.emptyDir("data")
		for _, name := range []string{"first", "second"} {
			hint := "dev.gvisor.spec.mount." + name
			p.annotate(hint+".source="+path, hint+".type=tmpfs", hint+".share=pod")
		}
		tasks := p.run(p.container("one", bind(path, "/data")), p.container("two", bind(path, "/data")))
		inSandbox(t, tasks[1], tasks[2], "/data")
		e.AwaitLog("is also that of first")
		remove(tasks...)
		holds(t, path)
	})
}

func TestVolumes_HintOfAnotherKindOfVolume(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		p := newKubelet(t, e).pod("pod")
		claim := filepath.Join(p.dir(), "volumes", "kubernetes.io~nfs", "claim")
		p.k.mkdir(claim, 0o777)
		driver := filepath.Join(p.dir(), "volumes", "kubernetes.io~csi", "scratch", "mount")
		p.k.mkdir(driver, 0o777)
		p.annotate("dev.gvisor.spec.mount.claim.type=bind", "dev.gvisor.spec.mount.claim.share=pod",
			"dev.gvisor.spec.mount.scratch.type=tmpfs", "dev.gvisor.spec.mount.scratch.share=pod")
		mounts := []specs.Mount{bind(claim, "/claim"), bind(driver, "/scratch")}
		tasks := p.run(p.container("one", mounts...), p.container("two", mounts...))
		// It is no folder that begins empty, so what is written must reach it.
		onHost(t, tasks[1], "/claim", claim)
		e.AwaitLog("volume claim is mounted with share shared")
		inSandbox(t, tasks[1], tasks[2], "/scratch")
		remove(tasks...)
		holds(t, driver)
	})
}

func TestVolumes_NotEmpty(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		p := newKubelet(t, e).pod("pod")
		path := p.emptyDir("data")
		if err := os.WriteFile(filepath.Join(path, "before"), []byte("x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		tasks := p.run(p.container("one", bind(path, "/data")), p.container("two", bind(path, "/data")))
		if got := in(t, tasks[1], "cat /data/before"); got != "x" {
			t.Errorf("what was there before is %q", got)
		}
		onHost(t, tasks[1], "/data", path)
		in(t, tasks[1], "echo y >/data/file")
		if got := in(t, tasks[2], "cat /data/file"); got != "y" {
			t.Errorf("the other container sees %q", got)
		}
		e.AwaitLog("volume data is not empty")
		remove(tasks...)
		holds(t, path, "before", "file", "from-inside", "from-outside")
	})
}

func TestVolumes_PartFirst(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		p := newKubelet(t, e).pod("pod")
		path := p.emptyDir("data")
		p.run()
		first := e.Running(p.container("first", bind(p.subPath("data", "first", "sub"), "/part")))
		whole := e.Running(p.container("whole", bind(path, "/data")))
		both := e.Running(p.container("both", bind(path, "/data"), bind(p.subPath("data", "both", "sub"), "/part")))
		in(t, first, "echo x >/part/file")
		if got := in(t, whole, "cat /data/sub/file"); got != "x" {
			t.Errorf("the container with the whole volume sees %q", got)
		}
		in(t, whole, "echo y >/data/sub/file")
		if got := in(t, both, "cat /part/file /data/sub/file"); got != "y\ny" {
			t.Errorf("the container with both sees %q", got)
		}
		e.AwaitLog("volume data is not shared in the sandbox, as a part of it is mounted")
	})
}

func TestVolumes_PartOfOneThatIsShared(t *testing.T) {
	for name, annotation := range map[string]string{"refused": "", "forced": "dev.gvisor.empty-dir.data.force-shared=true"} {
		t.Run(name, func(t *testing.T) {
			onRecent(t, func(t *testing.T, e *harness.Env) {
				p := newKubelet(t, e).pod("pod")
				if annotation != "" {
					p.annotate(annotation)
				}
				path := p.emptyDir("data")
				tasks := p.run(p.container("one", bind(path, "/data")))
				in(t, tasks[1], "mkdir /data/sub; echo x >/data/sub/file")
				k := e.Prepare(p.container("part", bind(p.subPath("data", "part", "sub"), "/part")))
				_, err := k.TryCreate()
				if annotation == "" {
					if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), `dev.gvisor.empty-dir.data.force-shared: "true"`) {
						t.Errorf("a part of a shared volume: %v", err)
					}
					return
				}
				succeeds(t, "create", err)
				k.Start()
				if got := in(t, k, "cat /part/file"); got != "x" {
					t.Errorf("the part has %q", got)
				}
			})
		})
	}
}

func TestVolumes_KubeletIsFound(t *testing.T) {
	for name, prepare := range map[string]func(p *volumes, e *harness.Env){
		"through a link": func(p *volumes, e *harness.Env) {
			link := filepath.Join(e.Dir, "link")
			if err := os.Symlink(p.k.Root, link); err != nil {
				p.k.t.Fatal(err)
			}
			e.Config = "kubelet_root = '" + link + "'\n"
		},
		"by a volume that is mounted": func(p *volumes, e *harness.Env) {
			token := filepath.Join(p.dir(), "volumes", "kubernetes.io~projected", "kube-api-access")
			p.k.mkdir(token, 0o755)
			p.k.mount("tmpfs", token, "tmpfs", 0, "")
			e.Config = ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			onRecent(t, func(t *testing.T, e *harness.Env) {
				p := newKubelet(t, e).pod("pod")
				path := p.emptyDir("data")
				prepare(p, e)
				tasks := p.run(p.container("one", bind(path, "/data")), p.container("two", bind(path, "/data")))
				inSandbox(t, tasks[1], tasks[2], "/data")
			})
		})
	}
}

func TestVolumes_PodIsFoundByItsLogs(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		p := newKubelet(t, e).pod("pod")
		path := p.emptyDir("data")
		// Older containerds do not say the pod's uid.
		older := func(c harness.Container) harness.Container {
			edit := c.Edit
			c.Edit = func(s *specs.Spec) {
				edit(s)
				delete(s.Annotations, "io.kubernetes.cri.sandbox-uid")
				s.Annotations["io.kubernetes.cri.sandbox-log-directory"] = "/var/log/pods/default_pod_" + p.UID
			}
			return c
		}
		e.Running(older(p.sandbox()))
		one := e.Running(older(p.container("one", bind(path, "/data"))))
		two := e.Running(older(p.container("two", bind(path, "/data"))))
		inSandbox(t, one, two, "/data")
	})
}

// An older runsc does not take what it would have to be told of a volume.
func TestVolumes_OlderRunsc(t *testing.T) {
	const mount = "dev.gvisor.spec.mount.annotated."
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		if !e.Old() {
			return
		}
		p := newKubelet(t, e).pod("pod")
		p.withShm(4 * mib)
		p.annotate(mount+"type=bind", mount+"share=pod", mount+"options=size=4m")
		annotated, plain := p.emptyDir("annotated"), p.emptyDir("plain")
		mounts := []specs.Mount{bind(annotated, "/annotated"), bind(plain, "/plain")}
		tasks := p.run(p.container("one", mounts...), p.container("two", mounts...))
		inSandbox(t, tasks[1], tasks[2], "/annotated")
		onHost(t, tasks[1], "/plain", plain)
		onHost(t, tasks[1], "/dev/shm", p.Shm)
		e.AwaitLog("too old to share volumes")
	})
}

func TestVolumes_WithoutGrouping(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		p := newKubelet(t, e).pod("pod")
		e.Config += "grouping = false\n"
		shared, parts := p.emptyDir("shared"), p.emptyDir("parts")
		p.run()
		one := e.Running(p.container("one", bind(shared, "/shared"), bind(p.subPath("parts", "one", "sub"), "/part")))
		two := e.Running(p.container("two", bind(shared, "/shared"), bind(parts, "/parts")))
		if one.Shim.PID == two.Shim.PID {
			t.Fatal("the containers have one shim")
		}
		inSandbox(t, one, two, "/shared")
		in(t, one, "echo x >/part/file")
		if got := in(t, two, "cat /parts/sub/file"); got != "x" {
			t.Errorf("the other container sees %q", got)
		}
	})
}
