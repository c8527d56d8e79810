package bootstrap

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// maxStdin bounds what is read from stdin, in bytes.
const maxStdin = 10 << 20

// configName is the spec's name in a bundle.
const configName = "config.json"

// ReadStdin completes the params with what containerd hands over on r, the
// process's stdin. Only ActionStart and Info have something there; for the
// others nothing is read. A terminal counts as empty, so that a person who
// tries the program need not end its input. Malformed input is InvalidArgument,
// a failed read is Internal.
func (p *Params) ReadStdin(r io.Reader) error {
	if p.Version || !p.Info && p.Action != ActionStart {
		return nil
	}
	var data []byte
	if !isTerminal(r) {
		var err error
		data, err = io.ReadAll(io.LimitReader(r, maxStdin+1))
		if err != nil {
			return fmt.Errorf("read stdin: %w: %w", err, errdefs.ErrInternal)
		}
	}
	if len(data) > maxStdin {
		return fmt.Errorf("stdin holds more than %d bytes: %w", maxStdin, errdefs.ErrInvalidArgument)
	}
	if err := p.takeStdin(data); err != nil {
		return fmt.Errorf("read stdin: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if p.Action == ActionStart && p.Reply == JSON && p.lacks(configName) {
		p.TaskVersion = taskV3
	}
	return nil
}

func (p *Params) takeStdin(data []byte) error {
	if p.Action == ActionStart {
		var params bootapi.BootstrapParams
		if proto.Unmarshal(data, &params) == nil && params.GetInstanceID() == p.ID && params.GetNamespace() == p.Namespace {
			return p.takeParams(&params)
		}
	}
	if len(data) == 0 {
		return nil
	}
	var options anypb.Any
	err := proto.Unmarshal(data, &options)
	if err == nil && len(options.ProtoReflect().GetUnknown()) > 0 {
		err = errors.New("it has fields that an Any has not")
	}
	if err != nil {
		if p.Action == ActionStart {
			return fmt.Errorf("neither the bootstrap params of %s in namespace %s nor runtime options: %w", p.ID, p.Namespace, err)
		}
		return fmt.Errorf("no runtime options: %w", err)
	}
	p.setOptions(&options)
	return nil
}

// takeParams takes the message of containerd 2.3 and later. It repeats most of
// the flags, which are to go one day, so where it says something it counts.
func (p *Params) takeParams(params *bootapi.BootstrapParams) error {
	p.Reply = Proto
	p.TaskVersion = taskV3
	for _, s := range []struct {
		from string
		into *string
	}{
		{params.GetContainerdGrpcAddress(), &p.Address},
		{params.GetContainerdTtrpcAddress(), &p.TTRPCAddress},
		{params.GetContainerdBinary(), &p.PublishBinary},
	} {
		if s.from != "" {
			*s.into = s.from
		}
	}
	// Levels fall as they get more talkative, and unknown ones may lie between.
	if params.GetLogLevel() <= bootapi.LogLevel_LOG_LEVEL_DEBUG {
		p.Debug = true
	}
	if dir := params.GetSocketDir(); dir != "" {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("bootstrap params: socket_dir: want an absolute path, have %q", dir)
		}
		p.SocketDir = filepath.Clean(dir)
	}
	p.setOptions(findOptions(params.GetExtensions()))
	return nil
}

// findOptions returns the runtime options among the extensions. Nothing marks
// them as such but their type, so it is the first whose type is called Options
// of something: the type itself is for the reader of the options to refuse.
// Extensions of other types are none of the shim's business.
func findOptions(extensions []*bootapi.Extension) *anypb.Any {
	for _, e := range extensions {
		if name := path.Base(e.GetValue().GetTypeUrl()); strings.HasSuffix(name, "Options") {
			return e.GetValue()
		}
	}
	return nil
}

func (p *Params) setOptions(options *anypb.Any) {
	if options.GetTypeUrl() == "" && len(options.GetValue()) == 0 {
		options = nil
	}
	p.Options = options
}

func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	// Terminals are character devices. The other one that is seen as a stdin is
	// /dev/null, which is empty indeed.
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
