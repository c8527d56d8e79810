package proc

import (
	"context"
	"os"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/cgroup"
)

// Runtime is what a Container needs of a sandbox runtime. It is the handle on one
// container. Every method may be called concurrently with any other. A container
// or process that is not there is errdefs' NotFound.
type Runtime interface {
	// Create creates the container from its bundle. It returns the id of the
	// sandbox process on the host and, with a terminal, its master.
	Create(ctx context.Context, opts CreateOptions) (pid int, master *os.File, err error)
	// Start starts init. files are those given to Create.
	Start(ctx context.Context, files Files) error
	// Wait waits for the end of a started init. Its only error is ctx's.
	Wait(ctx context.Context) (Exit, error)
	// SandboxLife ends when the sandbox process is gone. It is nil before Create.
	SandboxLife() context.Context
	// GoferLife ends when the process is gone that serves the container its files. It is
	// nil before Start, and where that process is not known.
	GoferLife() context.Context
	// KillSandbox kills the sandbox process without asking it.
	KillSandbox() error
	// Exec starts a further process.
	Exec(ctx context.Context, opts ExecOptions) (ExecProcess, error)
	// Signal signals init.
	Signal(ctx context.Context, sig unix.Signal) error
	// SignalExec signals the exec with this in-sandbox pid.
	SignalExec(ctx context.Context, pid int, sig unix.Signal) error
	// SignalAll signals every process of the container.
	SignalAll(ctx context.Context, sig unix.Signal) error
	// Processes returns the in-sandbox pids of the container.
	Processes(ctx context.Context) ([]int, error)
	// Stats returns the container's use of resources.
	Stats(ctx context.Context) (*Stats, error)
	// Pause and Resume freeze and thaw the sandbox.
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
	// Frozen tells, from memory, whether the sandbox is frozen by this shim: also by
	// another container of it.
	Frozen() bool
	// Doubtful tells, from memory, that it is not known whether it is, for good.
	Doubtful() bool
	// Update changes the resources of the sandbox.
	Update(ctx context.Context, res *specs.LinuxResources) error
	// UpdatePod does so because those of the pod's containers have changed.
	UpdatePod(ctx context.Context, res cgroup.PodResources) error
	// FitPod does so because the pod has another container.
	FitPod(ctx context.Context, res cgroup.PodResources) error
	// Delete ends the container and removes what the runtime keeps for it. It
	// succeeds when there is nothing left to do.
	Delete(ctx context.Context) error
}

// Files are a process's ends of its standard streams: input, output, error. They
// are nil with a terminal.
type Files [3]*os.File

// CreateOptions are how a container is created beside what its bundle says.
type CreateOptions struct {
	Files    Files
	Terminal bool
}

// ExecOptions are what an exec runs.
type ExecOptions struct {
	Process  *specs.Process
	Files    Files
	Terminal bool
}

// ExecProcess is an exec that was started.
type ExecProcess interface {
	// PID is the process's id in the sandbox.
	PID() int
	// Master is the terminal's master, now the caller's; nil without one.
	Master() *os.File
	// SignalForeground delivers what the terminal makes of a key or of a new
	// size to the foreground process group. It does nothing where that happens
	// anyway.
	SignalForeground(ctx context.Context, sig unix.Signal) error
	// Wait waits for the end of the process. It must be called, and once. Its
	// only error is ctx's.
	Wait(ctx context.Context) (Exit, error)
}

// Exit is how a process ended.
type Exit struct {
	// Status is the exit code, or 128 plus the signal that ended the process.
	Status uint32
	// At is when it ended.
	At time.Time
}

// UnknownStatus is the exit status of a process that has not ended. containerd
// gives it the same value (UnknownExitStatus).
const UnknownStatus = 255

const (
	// startFailed is the status of a process that could not be started.
	startFailed = 128
	// killedStatus is the status of a process ended by SIGKILL.
	killedStatus = 128 + uint32(unix.SIGKILL)
)

// Stdio says where a process's streams go, as the client asked: "" for none, a
// path or fifo:// URI for a FIFO, file:// for a file that is appended to,
// binary:// for a program that reads them.
type Stdio struct {
	Stdin, Stdout, Stderr string
	Terminal              bool
}

// Status is what is known of a process at one moment.
type Status struct {
	// ExecID is the process's id in its container, or "" for init.
	ExecID string
	State  State
	// PID is 0 before the process exists, then the host's id of the sandbox
	// process that runs it.
	PID   int
	Stdio Stdio
	// Exit is final once State is Stopped; before, its Status is
	// UnknownStatus and its time is zero.
	Exit Exit
}

// Stats are a container's use of resources. What is not known is 0.
type Stats struct {
	CPU    cgroup.CPU
	Memory cgroup.Memory
	// OOMKills is how often the kernel has killed it or one of its processes for lack
	// of memory.
	OOMKills uint64
	// PIDs is the number of processes and threads, and PIDLimit the most there may be.
	PIDs, PIDLimit uint64
	Networks       []NetworkStats
}

// NetworkStats are the counters of a network interface in the sandbox.
type NetworkStats struct {
	Name                                    string
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// ProcessInfo is one process of a container.
type ProcessInfo struct {
	// PID is the in-sandbox pid, but for init the host's id of the sandbox.
	PID int
	// ExecID is set for a process that the caller started.
	ExecID string
}

// EventKind says what happened to a process.
type EventKind int

// What can happen to a process or, for the pauses, to its container.
const (
	EventCreated EventKind = iota
	EventStarted
	EventExecAdded
	EventExecStarted
	EventExited
	EventDeleted
	EventPaused
	EventResumed
	// EventOOM comes before the exit that it explains.
	EventOOM
)

// Event is something that happened.
type Event struct {
	Kind EventKind
	// ExecID is "" for init.
	ExecID string
	PID    int
	// Exit is set for EventExited and EventDeleted.
	Exit Exit
}
