package adapt

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/oci"
)

// Options are what a container is and how its runsc is called.
type Options struct {
	// Place is where the container belongs.
	Place oci.Place
	// RunscSandboxID is the sandbox's id as runsc knows it.
	RunscSandboxID string
	// Bundle is the container's, to which paths in the spec may be relative. The root
	// file system is mounted.
	Bundle string
	// Flag returns the value of a flag of runsc, "" where it is not set. Flags that
	// the spec's annotations set are among them.
	Flag func(name string) string
	// RunscVersion asks runsc for its version.
	RunscVersion func() (string, error)
	// SandboxBundle is the bundle of the sandbox's root container.
	SandboxBundle string
	// Volumes says how volumes are shared.
	Volumes Volumes
}

// Result is what became of a spec.
type Result struct {
	// Changed tells that the spec was changed.
	Changed bool
	// Flags are further flags for every runsc command on the container, each in
	// the form --name=value.
	Flags []string
	// Pod is set for the root of a pod.
	Pod *PodLimits
	// Notes say what the spec asks for and the sandbox does not do.
	Notes []Note
}

// Note says, in a sentence without its full stop, what a spec asks for and the sandbox
// does not do.
type Note struct {
	Text string
	// Usual tells that most containers ask for it without that anybody has chosen it:
	// it is what clients write by default.
	Usual bool
}

// adaptation is one spec on its way through the steps.
type adaptation struct {
	*host
	Options
	Result
	spec *specs.Spec
}

// Spec changes the spec. It refuses one that asks for what cannot be had, and must not
// be left out, with the errdefs kind that fits. A file system that hangs is given up when ctx
// ends, and after 10 s: then the error is that of the context, and names the path.
func Spec(ctx context.Context, spec *specs.Spec, o Options) (Result, error) {
	a := &adaptation{host: newHost(ctx), Options: o, spec: spec}
	for _, step := range []func(*adaptation) error{
		dropAnnotations,
		nameSandbox,
		nameCgroups,
		joinPodCgroup,
		limitPod,
		useHostNetwork,
		takeUserNamespace,
		keepSubmounts,
		adaptMounts,
		hintVolumes,
		mountVolumes,
		limitPaths,
		noteSecurity,
		noteNamespaces,
		noteSysctls,
		noteDevices,
		noteResources,
		noteRest,
	} {
		if err := step(a); err != nil {
			return Result{}, err
		}
		// Some take what they cannot look at for what is not there.
		if a.hung != nil {
			return Result{}, a.hung
		}
	}
	a.limitNotes()
	return a.Result, nil
}

const (
	// maxNotes is how many notes a spec gets, and maxNote how long one can be, in bytes.
	// More nobody reads, and who writes the spec would fill the log with it.
	maxNotes = 20
	maxNote  = 1024
)

// limitNotes leaves of too many notes the first, those of somebody's choice before the
// others, and of long ones the begin.
func (a *adaptation) limitNotes() {
	if n := len(a.Notes) - maxNotes; n > 0 {
		slices.SortStableFunc(a.Notes, func(x, y Note) int { return cmp.Compare(rank(x), rank(y)) })
		a.Notes = a.Notes[:maxNotes]
		a.note("and %d things more", n)
	}
	for i := range a.Notes {
		if n := &a.Notes[i]; len(n.Text) > maxNote {
			n.Text = strings.ToValidUTF8(n.Text[:maxNote], "") + "…"
		}
	}
}

func rank(n Note) int {
	if n.Usual {
		return 1
	}
	return 0
}

// note records what is not done.
func (a *adaptation) note(format string, args ...any) {
	a.Notes = append(a.Notes, Note{Text: fmt.Sprintf(format, args...)})
}

// usual records what is not done, and is asked for by default.
func (a *adaptation) usual(format string, args ...any) {
	a.Notes = append(a.Notes, Note{Text: fmt.Sprintf(format, args...), Usual: true})
}

// annotate sets an annotation.
func (a *adaptation) annotate(key, value string) {
	if a.spec.Annotations == nil {
		a.spec.Annotations = map[string]string{}
	}
	a.spec.Annotations[key] = value
	a.Changed = true
}

// nameSandbox makes a container's spec name its sandbox as runsc does.
func nameSandbox(a *adaptation) error {
	if !a.Place.Root && oci.SetSandboxID(a.spec, a.RunscSandboxID) {
		a.Changed = true
	}
	return nil
}
