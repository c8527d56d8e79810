package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// measurePrograms measures the shims' binaries. Versions are asked for more often than
// there are rounds, as that is short.
func measurePrograms(ctx context.Context, s *measurement) error {
	type program struct{ name, path string }
	programs := []program{{auto, s.tool(ourShim)}, {runc, s.tool(runcShim)}}
	for _, p := range programs {
		fi, err := os.Stat(p.path)
		if err != nil {
			return err
		}
		s.add(binarySize, p.name, float64(fi.Size())/1e6)
	}
	for round := range 2 * s.rounds {
		err := inTurn(round, programs, func(p program) error {
			began := time.Now()
			if out, err := exec.CommandContext(ctx, p.path, "-v").CombinedOutput(); err != nil {
				return fmt.Errorf("%s -v: %w: %s", p.path, err, out)
			}
			s.add(versionTime, p.name, ms(time.Since(began)))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
