package model

import (
	"os"
	"path/filepath"
	"testing"

	"containerd-shim-runsc/test/harness"
)

// TestModel_Replay runs the programs that have failed once, on both runtimes and both ways.
func TestModel_Replay(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no programs in testdata: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Parse(string(b))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, rt := range []harness.Runtime{harness.Fake, harness.Real} {
			for _, control := range []string{"auto", "cli"} {
				t.Run(filepath.Base(file)+"/"+string(rt)+"/"+control, func(t *testing.T) {
					t.Parallel()
					if r := Run(t, Config{Runtime: rt, Control: control, Limit: limit}, p); r.Err != nil {
						t.Error(r.Err)
					}
				})
			}
		}
	}
}

func TestProgram_WrittenAndRead(t *testing.T) {
	for seed := range uint64(50) {
		p := Generate(seed, 200)
		again, err := Parse(p.String())
		if err != nil {
			t.Fatal(err)
		}
		if again.String() != p.String() {
			t.Fatalf("seed %d: a program that was written and read again is another", seed)
		}
	}
}
