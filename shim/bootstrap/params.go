package bootstrap

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/anypb"
)

// Action is what the process is to do.
type Action string

const (
	// ActionServe serves the task API until the group's last task is gone.
	ActionServe Action = ""
	// ActionStart makes sure that the container's shim runs and prints its address.
	ActionStart Action = "start"
	// ActionDelete cleans up after a shim that is gone.
	ActionDelete Action = "delete"
)

const (
	// envTTRPCAddress and envGRPCAddress hold containerd's own sockets.
	envTTRPCAddress = "TTRPC_ADDRESS"
	envGRPCAddress  = "GRPC_ADDRESS"
	// envMaxVersion is set by containerd 1.7 and later. Its value is 2 in all of
	// them, also in those that know version 3.
	envMaxVersion = "MAX_SHIM_VERSION"
)

// The versions of the task API that a shim may announce.
const (
	taskV2 = 2
	taskV3 = 3
)

// maxName bounds an id and a namespace in bytes: both become names of files.
// containerd itself allows 76.
const maxName = 255

// Params is what the process was started with.
type Params struct {
	Action Action
	// ID is the container's id, Namespace containerd's namespace of it. Both can
	// be used as a name of a file. They are empty with Version and Info.
	ID        string
	Namespace string
	// Bundle is the absolute path of the container's bundle. With Version and Info it is
	// not looked at.
	Bundle string
	// Address and TTRPCAddress are containerd's sockets, with or without
	// unix://. PublishBinary is containerd's binary.
	Address       string
	TTRPCAddress  string
	PublishBinary string
	// Debug asks for debug messages in the log.
	Debug bool
	// Socket is the path of the socket to serve at. Only ActionServe has one.
	Socket string
	// SocketDir is the absolute path of the directory for sockets, if containerd
	// names one.
	SocketDir string
	// Version and Info ask for the version and the runtime's features instead of
	// an action.
	Version bool
	Info    bool
	// Options are the runtime options, nil if there are none.
	Options *anypb.Any
	// Reply is the form of start's answer that the calling containerd reads.
	Reply ReplyForm
	// TaskVersion is the version of the task API for start's answer, 2 or 3.
	TaskVersion int
}

// Parse reads the command line, without the program's name, and the
// environment. Params of ActionStart and of Info are complete only after
// ReadStdin. Every error is InvalidArgument, but for a working directory that
// cannot be found out: that is FailedPrecondition.
func Parse(args []string, env func(string) string) (Params, error) {
	var p Params
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&p.ID, "id", "", "")
	flags.StringVar(&p.Namespace, "namespace", "", "")
	flags.StringVar(&p.Bundle, "bundle", "", "")
	flags.StringVar(&p.Address, "address", "", "")
	flags.StringVar(&p.PublishBinary, "publish-binary", "", "")
	flags.BoolVar(&p.Debug, "debug", false, "")
	flags.StringVar(&p.Socket, "socket", "", "")
	flags.String("debug-socket", "", "") // known to every shim; this one serves no profiles
	flags.BoolVar(&p.Version, "v", false, "")
	flags.BoolVar(&p.Version, "version", false, "")
	flags.BoolVar(&p.Info, "info", false, "")
	if err := flags.Parse(args); err != nil {
		return Params{}, badUsage(err)
	}

	p.TTRPCAddress = env(envTTRPCAddress)
	if p.Address == "" {
		p.Address = env(envGRPCAddress)
	}
	p.TaskVersion = taskV2
	if env(envMaxVersion) != "" {
		p.Reply = JSON
	}
	if p.Version || p.Info {
		return p, nil
	}

	p.Action = Action(flags.Arg(0))
	switch p.Action {
	case ActionServe, ActionStart, ActionDelete:
	default:
		return Params{}, badUsage(fmt.Errorf("unknown action %q", p.Action))
	}
	if flags.NArg() > 1 {
		return Params{}, badUsage(fmt.Errorf("unexpected argument %q after the action", flags.Arg(1)))
	}
	if err := checkName(p.ID); err != nil {
		return Params{}, badUsage(fmt.Errorf("flag -id: %w", err))
	}
	if err := checkName(p.Namespace); err != nil {
		return Params{}, badUsage(fmt.Errorf("flag -namespace: %w", err))
	}
	if p.Action == ActionServe {
		// Its working directory may be gone.
		if !filepath.IsAbs(p.Bundle) {
			return Params{}, badUsage(fmt.Errorf("flag -bundle: want an absolute path to serve, have %q", p.Bundle))
		}
		return p, nil
	}
	var err error
	// Without a flag it is the working directory.
	if p.Bundle, err = filepath.Abs(p.Bundle); err != nil {
		return Params{}, fmt.Errorf("find the bundle of %s: %w: %w", p.ID, err, errdefs.ErrFailedPrecondition)
	}
	return p, nil
}

// badUsage says what is wrong with the command line, and what would be right.
func badUsage(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		err = errors.New("containerd runs this program")
	}
	return fmt.Errorf("%w; usage: -namespace <namespace> -id <id> [-address <socket>] [-publish-binary <path>] "+
		"[-bundle <path>] [-socket <path>] [-debug] [start | delete], or -info, or -version: %w", err, errdefs.ErrInvalidArgument)
}

// checkName refuses what cannot be the name of a file. Which names containerd
// allows beyond that is its own business.
func checkName(s string) error {
	switch {
	case s == "":
		return errors.New("missing or empty")
	case len(s) > maxName:
		return fmt.Errorf("want at most %d bytes, have %d", maxName, len(s))
	case s == "." || s == ".." || strings.Contains(s, "/") || strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%q cannot be the name of a file", s)
	default:
		return nil
	}
}

// lacks says whether the bundle has no file of that name.
func (p *Params) lacks(name string) bool {
	_, err := os.Stat(filepath.Join(p.Bundle, name))
	return errors.Is(err, os.ErrNotExist)
}
