#!/bin/bash
# Keeps the BUILD files and the repositories in MODULE.bazel in step with the Go
# sources and go.mod. Bazel itself is not needed.
#
# usage: BIN=<directory of gazelle> bazel.sh update|check
#
# check changes nothing and fails if update would change something.
set -euo pipefail

mode=$1
cd "$(dirname "$0")/../.."
# Without "static", gazelle would ask the network about import paths; go.mod says
# all that it needs to know.
gazelle=("$BIN/gazelle" update -external=static)

# The name that go_deps gives a module's repository: its domain backwards, and an
# underscore for what is neither letter nor digit.
repositories() {
	awk '
		/^require \(/ { inside = 1; next }
		/^\)/ { inside = 0 }
		/\/\/ indirect/ { next }
		inside && NF >= 2 { print $1 }
		/^require [^(]/ { print $2 }
	' go.mod | awk '{
		slash = index($0, "/")
		domain = slash ? substr($0, 1, slash - 1) : $0
		rest = slash ? substr($0, slash) : ""
		n = split(domain, part, ".")
		name = part[n]
		for (i = n - 1; i > 0; i--) name = name "_" part[i]
		name = tolower(name rest)
		gsub(/[^a-z0-9]/, "_", name)
		printf "    \"%s\",\n", name
	}' | LC_ALL=C sort
}

# MODULE.bazel as it should be: the list after "go_deps," is written anew.
module() {
	awk -v list="$(repositories)" '
		/^    go_deps,$/ { print; if (list != "") print list; skip = 1; next }
		/^\)/ { skip = 0 }
		!skip { print }
	' MODULE.bazel
}

case $mode in
update)
	wanted=$(module)
	printf '%s\n' "$wanted" >MODULE.bazel
	"${gazelle[@]}"
	;;
check)
	drift=0
	diff -u --label MODULE.bazel --label wanted MODULE.bazel <(module) || drift=1
	"${gazelle[@]}" -mode=diff || drift=1
	if ((drift)); then
		echo "the Bazel files are behind the sources: run \"make bazel\"" >&2
		exit 1
	fi
	;;
*)
	echo "usage: bazel.sh update|check" >&2
	exit 2
	;;
esac
