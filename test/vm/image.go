package main

import (
	"context"
	"embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The scripts of the machine.
//
//go:embed guest
var guest embed.FS

// image is the initial root file system of a machine. What is in it lies below dir
// first, but for Debian's files, which are taken from where they were unpacked.
type image struct {
	settings
	dir string
}

// build makes the image of the suites in a file.
func (s settings) build(ctx context.Context, list []suite, file string) error {
	dir, err := os.MkdirTemp(s.work, "image")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	im := image{settings: s, dir: dir}
	for _, step := range []func() error{
		im.scripts,
		im.configuration,
		func() error { return im.tools(ctx, list) },
		func() error { return im.programs(ctx) },
		func() error { return im.suites(ctx, list) },
		func() error { return im.modules(ctx) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("make the machine's image: %w", err)
		}
	}
	return im.write(ctx, file)
}

// path is the place of a file of the machine.
func (im image) path(name string) string { return filepath.Join(im.dir, name) }

// put makes a file of the machine.
func (im image) put(name string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(im.path(name)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(im.path(name), content, mode)
}

// link makes a symbolic link of the machine.
func (im image) link(target, name string) error {
	if err := os.MkdirAll(filepath.Dir(im.path(name)), 0o755); err != nil {
		return err
	}
	return os.Symlink(target, im.path(name))
}

// add puts a file of this machine in the image.
func (im image) add(name, from string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(im.path(name)), 0o755); err != nil {
		return err
	}
	if os.Link(from, im.path(name)) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(im.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

// scripts adds our own part of the machine.
func (im image) scripts() error {
	for name, to := range map[string]string{
		"init": "init", "boot": "vm/boot", "run": "vm/run", "go": "vm/stand-ins/go",
		"vm-suites.service": "etc/systemd/system/vm-suites.service",
	} {
		b, err := guest.ReadFile("guest/" + name)
		if err != nil {
			return err
		}
		if err := im.put(to, b, 0o755); err != nil {
			return err
		}
	}
	return os.Mkdir(im.path("new"), 0o755)
}

// configuration adds what the packages' scripts would have made.
func (im image) configuration() error {
	for name, content := range map[string]string{
		"etc/passwd":      "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/nonexistent:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"etc/group":       "root:x:0:\ntty:x:5:\nmessagebus:x:100:\nnogroup:x:65534:\n",
		"etc/hosts":       "127.0.0.1 localhost vm\n::1 localhost\n",
		"etc/hostname":    "vm\n",
		"etc/resolv.conf": "",
		"etc/machine-id":  strings.Repeat("5", 32) + "\n",
		"etc/fstab":       "",
	} {
		if err := im.put(name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"usr/sbin/iptables":          "xtables-nft-multi",
		"usr/sbin/iptables-save":     "xtables-nft-multi",
		"usr/sbin/iptables-restore":  "xtables-nft-multi",
		"usr/sbin/ip6tables":         "xtables-nft-multi",
		"usr/sbin/ip6tables-save":    "xtables-nft-multi",
		"usr/sbin/ip6tables-restore": "xtables-nft-multi",
	} {
		if err := im.link(target, name); err != nil {
			return err
		}
	}
	return nil
}

// tools adds the programs under test, and busybox for all commands that Debian's
// packages have not brought.
func (im image) tools(ctx context.Context, list []suite) error {
	names := map[string]bool{"containerd-shim-runsc-v1": true}
	for _, s := range list {
		for _, tool := range s.tools {
			names[tool] = true
		}
	}
	for name := range names {
		if err := im.add("vm/bin/"+name, filepath.Join(im.bin, name)); err != nil {
			return err
		}
	}
	busybox := filepath.Join(im.bin, "busybox-static")
	if err := im.add("usr/bin/busybox", busybox); err != nil {
		return err
	}
	applets, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("list the applets of busybox: %w", err)
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if im.debian("usr/bin/"+applet) || im.debian("usr/sbin/"+applet) || applet == "busybox" {
			continue
		}
		// Where programs look for sh, and where the kernel looks for modprobe.
		for _, dir := range []string{"usr/bin/", "usr/sbin/"} {
			if err := im.link("/usr/bin/busybox", dir+applet); err != nil {
				return err
			}
		}
	}
	return nil
}

// debian reports whether the packages have brought a file.
func (im image) debian(name string) bool {
	_, err := os.Lstat(filepath.Join(im.system(), name))
	return err == nil
}

// programs compiles the programs that the suites build for themselves where there is Go.
func (im image) programs(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "list", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`, "./test/...")
	cmd.Stderr = os.Stderr
	list, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("list the programs of the tests: %w", err)
	}
	for name := range strings.FieldsSeq(string(list)) {
		// What measures and what makes machines has no use in one.
		if strings.HasSuffix(name, "/test/bench") || strings.HasSuffix(name, "/test/vm") {
			continue
		}
		if err := im.compile(ctx, "vm/built/"+name, "build", name); err != nil {
			return err
		}
	}
	return nil
}

// suites compiles the suites that the machine runs, and makes the plan for them.
func (im image) suites(ctx context.Context, list []suite) error {
	var plan strings.Builder
	for _, s := range list {
		if err := im.compile(ctx, filepath.Join("vm/suites", s.name, "suite.test"), "test", "-c", s.pkg); err != nil {
			return err
		}
		fmt.Fprintln(&plan, s.name, strings.Join(s.command(im.tests, im.flags), " "))
	}
	return im.put("vm/plan", []byte(plan.String()), 0o644)
}

// compile runs go with the output in the image. The programs are static, as the race
// detector would make them too slow here.
func (im image) compile(ctx context.Context, to, verb string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{verb, "-o", im.path(to)}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s %s: %w\n%s", verb, args[len(args)-1], err, out)
	}
	return nil
}
