package contract

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"containerd-shim-runsc/test/harness"
)

func TestFlags_InAnnotations(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		p := newKubelet(t, e).pod("pod")
		// Then a container's writes reach its rootfs.
		p.annotate("dev.gvisor.flag.overlay2=none")
		if e.Old() {
			// There it is not among those that a pod may set.
			if _, err := e.Prepare(p.sandbox()).TryCreate(); !errdefs.IsInvalidArgument(err) {
				t.Errorf("create: %v", err)
			}
			return
		}
		one := p.run(p.container("one"))[1]
		in(t, one, "echo x >/file")
		if b, err := os.ReadFile(filepath.Join(e.ImageOf("one"), "file")); string(b) != "x\n" {
			t.Errorf("the rootfs has %q, %v", b, err)
		}
	})
}

func TestFlags_ForbiddenInAnnotations(t *testing.T) {
	for annotation, words := range map[string]string{
		"dev.gvisor.flag.platform=ptrace":    "platform",
		"dev.gvisor.flag.oci-seccomp=false":  "oci-seccomp",
		"dev.gvisor.flag.no-such-flag=false": "no-such-flag",
		"dev.gvisor.flag.debug=maybe":        "debug",
	} {
		t.Run(words, func(t *testing.T) {
			onRunsc(t, func(t *testing.T, e *harness.Env) {
				p := newKubelet(t, e).pod("pod")
				p.annotate(annotation)
				_, err := e.Prepare(p.sandbox()).TryCreate()
				if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), words) {
					t.Errorf("a sandbox with %s: %v", annotation, err)
				}
			})
		})
	}
}
