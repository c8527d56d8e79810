package faults

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// A clock that jumps. The machine's clock cannot be changed for one process alone: a time
// namespace has the monotonic and the boot-time clock only, and those are what must not
// jump. So what is checked here is that no duration is taken from the clock that may:
// time.Now has both clocks, and what compares or subtracts its values uses the monotonic
// one unless somebody has thrown it away.

// TestClock_NothingIsMeasuredByTheWallClock: in the shim's own code, nobody throws the
// monotonic clock away to reckon with what is left.
func TestClock_NothingIsMeasuredByTheWallClock(t *testing.T) {
	t.Parallel()
	files := 0
	for _, dir := range []string{"cmd", "shim", "proc", "runsc", "utils"} {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			found, err := reckonings(path, nil)
			for _, where := range found {
				t.Errorf("%s reckons with the wall clock", where)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 50 {
		t.Fatalf("only %d files were read", files)
	}
}

// wallOnly are the methods without arguments whose result has no monotonic clock.
func wallOnly() map[string]bool {
	return map[string]bool{
		"Unix": true, "UnixNano": true, "UnixMilli": true, "UnixMicro": true,
		"ModTime": true, "Local": true, "UTC": true, "AsTime": true,
	}
}

// reckoning are the methods and functions that make durations and deadlines of moments.
func reckoning() map[string]bool {
	return map[string]bool{"Sub": true, "Since": true, "Until": true, "Before": true, "After": true, "Compare": true}
}

// TestClock_IsRead: what the test above looks for is found where it is, and only there.
func TestClock_IsRead(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]int{
		"time.Since(fi.ModTime())":                  1,
		"now.Unix() - then.Unix()":                  1,
		"then.Round(0).Before(now)":                 1,
		"a.UnixNano() > limit":                      1,
		"time.Since(began)":                         0,
		"time.Until(deadline)":                      0,
		"timestamp{Seconds: at.Unix(), Rest: rest}": 0,
		"took.Round(time.Millisecond) > limit":      0,
	} {
		found, err := reckonings("x.go", "package x\nvar _ = "+expr+"\n")
		if err != nil || len(found) != want {
			t.Errorf("%s: found %v, %v; want %d", expr, found, err, want)
		}
	}
}

// reckonings lists where a moment without its monotonic clock is reckoned with in one
// expression. The source is the file's own, unless it is given.
func reckonings(path string, source any) ([]string, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if reckoning()[calledName(n)] && hasWallOnly(n) {
				found = append(found, set.Position(n.Pos()).String())
			}
		case *ast.BinaryExpr:
			if hasWallOnly(n.X) || hasWallOnly(n.Y) {
				found = append(found, set.Position(n.Pos()).String())
			}
		}
		return true
	})
	return found, nil
}

func calledName(c *ast.CallExpr) string {
	if s, ok := c.Fun.(*ast.SelectorExpr); ok {
		return s.Sel.Name
	}
	return ""
}

// hasWallOnly tells whether there is a call in an expression whose result is of the wall
// clock alone.
func hasWallOnly(n ast.Node) bool {
	found := false
	ast.Inspect(n, func(n ast.Node) bool {
		c, ok := n.(*ast.CallExpr)
		if ok && (wallOnly()[calledName(c)] && len(c.Args) == 0 || strips(c)) {
			found = true
		}
		return !found
	})
	return found
}

// strips tells a call that throws the monotonic clock away, as time.Time's documentation
// has it: t.Round(0).
func strips(c *ast.CallExpr) bool {
	if name := calledName(c); name != "Round" && name != "Truncate" || len(c.Args) != 1 {
		return false
	}
	zero, ok := c.Args[0].(*ast.BasicLit)
	return ok && zero.Value == "0"
}
