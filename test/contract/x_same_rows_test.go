package contract

import (
	"slices"
	"strings"

	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// rows are all processes that are run both ways.
func rows() []row {
	return slices.Concat(userRows(), capRows(), envRows(), programRows(), specRows(), streamRows(), terminalRows(), endRows())
}

func user(uid, gid uint32, groups ...uint32) specs.User {
	return specs.User{UID: uid, GID: gid, AdditionalGids: groups}
}

func userRows() []row {
	return []row{
		{
			name: "root",
			want: func(s setting) seen {
				// runsc gives the streams to whom the sandbox runs as, whatever io_uid says.
				host := "0:0 010700"
				if s.nobody {
					host = "65534:65534 010700"
				}
				return seen{
					"status": "0", "uids": "0 0 0", "gids": "0 0 0", "fds": "[0 1 2]", "fd 0 owner": "0:0", "fd 1 owner": "0:0",
					"host's stdin": host, "host's stdout": host, "host's stderr": host,
				}
			},
		},
		{
			name: "a user", process: specs.Process{User: user(1000, 1001, 5, 7, 2000)},
			want: is("uids", "1000 1000 1000", "gids", "1001 1001 1001", "groups", "[5 7 2000]", "fd 2 owner", "1000:1001"),
		},
		{name: "a user in root's group", process: specs.Process{User: user(1000, 0)}},
		{name: "root in a group", process: specs.Process{User: user(0, 50, 60)}, want: is("groups", "[60]")},
		{name: "unsorted groups", process: specs.Process{User: user(1, 2, 9, 3, 9, 2)}},
		{name: "a user beyond the user namespace", process: specs.Process{User: user(70000, 70000, 70001)}},
		{name: "the highest user", process: specs.Process{User: user(1<<32-2, 1<<32-2)}},
		{name: "nobody", process: specs.Process{User: user(1<<32-1, 1<<32-1)}},
		{name: "user name", process: specs.Process{User: specs.User{UID: 3, Username: "user"}}},
		{name: "in another container", in: fewID, want: is("hostname", "test")},
	}
}

// caps are bits of capability sets, as /proc has them.
const (
	noCaps      = "0000000000000000"
	usualBits   = "00000000a80405fb"
	usualRawOut = "00000000a80425fb"
)

// usual wants the usual capabilities in some sets.
func usual(sets ...string) func(setting) seen {
	return func(s setting) seen {
		want := seen{"CapInh": noCaps, "CapAmb": noCaps}
		for _, set := range sets {
			want[set] = usualBits
			if s.raw {
				want[set] = usualRawOut
			}
		}
		return want
	}
}

func capRows() []row {
	with := func(name string, c *specs.LinuxCapabilities) row {
		return row{name: "caps: " + name, process: specs.Process{Capabilities: c}}
	}
	as := func(r row, u specs.User) row {
		r.process.User = u
		r.name += " of a user"
		return r
	}
	wanting := func(r row, want func(setting) seen) row {
		r.want = want
		return r
	}
	all := append(usualCaps(), "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_BPF", "CAP_PERFMON", "CAP_CHECKPOINT_RESTORE")
	var known []string
	for _, c := range capability.ListKnown() {
		known = append(known, "CAP_"+strings.ToUpper(c.String()))
	}
	everywhere := &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all, Inheritable: all, Ambient: all}
	handed := equalCaps("CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW")
	handed.Inheritable = []string{"CAP_KILL", "CAP_NET_RAW"}
	handed.Ambient = []string{"CAP_KILL", "CAP_NET_RAW"}
	partial := &specs.LinuxCapabilities{
		Bounding:  []string{"CAP_KILL", "CAP_CHOWN", "CAP_SETUID"},
		Permitted: []string{"CAP_KILL", "CAP_CHOWN"},
		Effective: []string{"CAP_KILL"},
	}
	few := with("the container's few", nil)
	few.in = fewID
	none := with("the container has none", nil)
	none.in = noneID
	own := with("own, in a container that has none", equalCaps("CAP_KILL"))
	own.in = noneID
	list := []row{
		wanting(with("the container's", nil), usual("CapPrm", "CapEff", "CapBnd")),
		as(with("the container's", nil), user(1000, 1000)),
		wanting(few, func(s setting) seen {
			if s.raw {
				return seen{"CapEff": "0000000000002020", "CapBnd": "0000000000002020"}
			}
			return seen{"CapEff": "0000000000000020", "CapBnd": "0000000000000020"}
		}),
		wanting(none, is("CapEff", noCaps, "CapBnd", noCaps)), own,
		with("an empty set", &specs.LinuxCapabilities{}),
		with("equal", equalCaps(usualCaps()...)), as(with("equal", equalCaps(usualCaps()...)), user(1000, 1000)),
		with("everywhere", everywhere), as(with("everywhere", everywhere), user(1000, 1000)),
		with("handed on", handed), as(with("handed on", handed), user(1000, 1000)),
		with("partial", partial), as(with("partial", partial), user(1000, 1000)),
		with("bounding alone", &specs.LinuxCapabilities{Bounding: usualCaps()}),
		with("effective alone", &specs.LinuxCapabilities{Effective: usualCaps()}),
		with("permitted alone", &specs.LinuxCapabilities{Permitted: usualCaps()}),
		with("inheritable alone", &specs.LinuxCapabilities{Inheritable: usualCaps()}),
		with("ambient alone", &specs.LinuxCapabilities{Ambient: usualCaps()}),
		with("all there are", equalCaps(known...)),
		with("raw alone", equalCaps("CAP_NET_RAW")),
		with("twice", equalCaps("CAP_KILL", "CAP_KILL")),
	}
	for _, name := range []string{"CAP_NO_SUCH", "cap_kill", "KILL", ""} {
		says := []string{name}
		r := with("unknown "+name, equalCaps("CAP_KILL", name))
		r.says = says
		list = append(list, r)
	}
	ambient := with("unknown in the ambient set", &specs.LinuxCapabilities{Ambient: []string{"CAP_NO_SUCH"}})
	ambient.says = []string{"CAP_NO_SUCH"}
	return append(list, ambient,
		row{
			name: "no new privileges", process: specs.Process{NoNewPrivileges: true},
			want: is("NoNewPrivs", "1", "no new privileges", "1"),
		},
		row{
			name: "no new privileges of a user", want: is("NoNewPrivs", "1"),
			process: specs.Process{NoNewPrivileges: true, User: user(1000, 1000), Capabilities: handed},
		},
	)
}

func envRows() []row {
	with := func(name string, want string, env ...string) row {
		r := row{name: "env: " + name, process: specs.Process{Env: env}}
		if want != "" {
			r.want = is("env", want)
		}
		return r
	}
	as := func(r row, u specs.User) row {
		r.process.User = u
		return r
	}
	found := func(r row, args ...string) row {
		r.process.Args = args
		return r
	}
	missing := found(with("not in PATH", "", "PATH=/opt:/bin"), "nothing-of-this-name")
	missing.says = []string{`"nothing-of-this-name"`, "PATH", "[/opt /bin]"}
	forbidden := found(with("not executable in PATH", "", "PATH=/opt"), "plain")
	forbidden.says = []string{`"plain"`}
	relative := found(with("relative PATH", "", "PATH=opt:."), "found")
	relative.says = []string{`"found"`, "PATH"}
	invalid := with("without a sign", "", "A=b", "NOSIGN")
	invalid.says = []string{"NOSIGN"}
	return []row{
		with("in disorder and doubled", `["A=3","B=1","HOME=/x","PATH=/bin"]`, "B=1", "A=1", "PATH=/bin", "A=2", "HOME=/x", "A=3"),
		with("root has a home", `["HOME=/root-home","PATH=/bin"]`, "PATH=/bin"),
		as(with("user has a home", `["HOME=/home/user","PATH=/bin"]`, "PATH=/bin"), user(1000, 5)),
		as(with("stranger has a home", `["HOME=/","PATH=/bin"]`, "PATH=/bin"), user(77, 77)),
		with("given home", `["HOME=/given"]`, "HOME=/given"),
		with("empty home", `["HOME="]`, "HOME="),
		with("like home", `["HOME=/root-home","HOMEX=1","XHOME=1"]`, "HOMEX=1", "XHOME=1"),
		with("empty", `["HOME=/root-home"]`, []string{}...),
		with("odd values", "", "A=x=y=z", "B=", "C= ", "D=line\nbreak", "E=ü💧", "F='\"$A", "=G"),
		with("long", "", "A="+strings.Repeat("x", 50000)),
		invalid,
		found(with("lookup", "", "PATH=/nothing:/opt:/bin"), "found"),
		found(with("lookup without PATH", "", "A=b"), "probe"),
		found(with("lookup with an empty PATH", "", "PATH="), "probe"),
		found(with("lookup with two PATHs", "", "PATH=/nothing", "PATH=/opt"), "found"),
		found(with("lookup past one that may not be run", "", "PATH=/opt:/bin"), "plain"),
		missing, forbidden, relative,
	}
}

// programRows are about what runs: the arguments, the file, and where.
func programRows() []row {
	failing := func(name string, says []string, args ...string) row {
		return row{name: "program: " + name, process: specs.Process{Args: args}, says: says}
	}
	in := func(cwd string) row {
		return row{name: "cwd " + cwd, process: specs.Process{Cwd: cwd}}
	}
	no := func(r row, says ...string) row {
		r.says = says
		return r
	}
	secret := failing("another's", []string{"permission denied"}, "/opt/only-roots")
	secret.process.User, secret.process.Capabilities = user(1000, 1000), &specs.LinuxCapabilities{}
	usual := func(p specs.Process) specs.Process {
		p.Env = usualEnv()
		return p
	}
	return []row{
		{name: "arguments", process: specs.Process{Args: []string{"/bin/probe", "", "two words", "", " ", "'\"\\$`", "ünï💧", "-x", "--", "line\nbreak", ""}}},
		{name: "long argument", process: specs.Process{Args: []string{"/bin/probe", "x", strings.Repeat("y", 100000)}}},
		{name: "many arguments", process: specs.Process{Args: append([]string{"/bin/probe"}, slices.Repeat([]string{"a", ""}, 1000)...)}},
		{name: "very long argument", process: specs.Process{Args: []string{"/bin/probe", strings.Repeat("y", 3_000_000)}}},
		{name: "argument with an end in it", process: specs.Process{Args: []string{"/bin/probe", "one\x00two"}}},
		{name: "program: by a name", process: specs.Process{Args: []string{"probe"}}, want: is("exe", "/bin/probe")},
		{name: "program: by a relative path", process: specs.Process{Args: []string{"./found"}, Cwd: "/opt"}, want: is("exe", "/opt/found")},
		{name: "program: by a path with a slash", process: specs.Process{Args: []string{"bin/probe"}}},
		{name: "program: by a link", process: specs.Process{Args: []string{"/opt/link"}}, want: is("exe", "/bin/probe")},
		{name: "program: by a way around", process: specs.Process{Args: []string{"/opt/../opt//./found"}}},
		{name: "program: a script", process: specs.Process{Args: []string{"/opt/script", "a", "b"}}, want: is("output", "script /opt/script a b\n")},
		{name: "program: another's, with capabilities", process: specs.Process{Args: []string{"/opt/only-roots"}, User: user(1000, 1000)}},
		failing("missing", []string{"no such file or directory", "/opt/nothing"}, "/opt/nothing"),
		failing("missing folder", []string{"no such file or directory"}, "/nothing/nothing"),
		failing("missing relative", []string{"no such file or directory"}, "./nothing"),
		failing("dangling link", []string{"no such file or directory"}, "/opt/dangling"),
		failing("file for a folder", []string{"/etc/passwd/nothing"}, "/etc/passwd/nothing"),
		failing("not executable", []string{"permission denied"}, "/opt/plain"),
		failing("a folder", []string{"permission denied"}, "/opt"),
		failing("a folder with a slash", []string{"/opt/"}, "/opt/"),
		failing("no program", []string{"/opt/garbage"}, "/opt/garbage"),
		failing("empty", []string{"/opt/empty"}, "/opt/empty"),
		failing("no interpreter", []string{"/opt/orphan"}, "/opt/orphan"),
		failing("a device", []string{"/dev/null"}, "/dev/null"),
		failing("of no name", []string{""}, ""),
		secret,
		{name: "no arguments", exact: true, process: usual(specs.Process{Cwd: "/"}), says: []string{"arguments"}},
		{name: "empty arguments", exact: true, process: usual(specs.Process{Cwd: "/", Args: []string{}}), says: []string{"arguments"}},
		{name: "no cwd", exact: true, process: usual(specs.Process{Args: []string{"/bin/probe"}}), says: []string{"absolute path"}},
		no(in("opt"), `"opt"`, "absolute path"), no(in("."), `"."`, "absolute path"),
		in("/opt"), in("/opt/../etc/./"), in("//etc"), no(in("/proc/self"), "/proc/self"), in("/etc/passwd"), no(in("/nothing/there"), "/nothing/there", "no such file or directory"),
	}
}
