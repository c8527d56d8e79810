package runsc

import (
	"context"
	"strings"

	runc "github.com/containerd/go-runc"
)

// version returns runsc's version, in the words that it was built with.
func (c *Container) version(ctx context.Context) (string, error) {
	var out []byte
	err := c.do(ctx, "version", func(r *runc.Runc) (err error) {
		out, err = c.raw(ctx, r, files{}, "--version")
		return err
	})
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(line, "runsc version "), nil
}
