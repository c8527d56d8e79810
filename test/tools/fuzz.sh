#!/bin/bash
# Runs each fuzz target of the module for a while, one after the other.
#
# usage: [FUZZTIME=10s] fuzz.sh [PATTERN]
#
# FUZZTIME is for each target, as go test -fuzztime has it. PATTERN chooses targets:
# those of whose package and name, as in ./proc.FuzzStreams, a part matches it as an
# extended regular expression. With a finding, go test writes the input to testdata/fuzz in
# the package, the others still run, and the script fails.
set -euo pipefail

time=${FUZZTIME:-10s}
pattern=${1:-.}
cd "$(dirname "$0")/../.."

# Only test files have targets, and a package is compiled for fuzzing only if it has some.
mapfile -t targets < <(
	find . -name '*_test.go' -not -path './.*/*' \
		-exec grep -HoE '^func Fuzz[A-Za-z0-9_]*\(\w+ \*testing\.F\)' {} + |
		sed -E 's|^(.*)/[^/]*_test\.go:func (Fuzz[A-Za-z0-9_]*).*|\1.\2|' |
		LC_ALL=C sort | grep -E -- "$pattern" || true
)
if ((${#targets[@]} == 0)); then
	echo "there is no fuzz target that matches $pattern" >&2
	exit 1
fi

# Most targets write files, which a disk would make a hundred times slower.
base=/dev/shm
[[ -w $base ]] || base=/tmp
TMPDIR=$(mktemp -d "$base/fuzz.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
out=$TMPDIR/out

# With a machine that is busy, go test may take its own end of the time for a failure
# (golang.org/issue/75804).
timed_out() {
	grep -qaxE ' +context deadline exceeded' "$1" && ! grep -qa 'Failing input written' "$1"
}

# In a hang there are no runs any more, and go test takes that for a failure only if the time
# is far longer. Its lines come every 3 s.
hangs() {
	local lines
	lines=$(grep -aE '^fuzz: .*execs: ' "$1" | tail -n 2)
	(($(grep -cF ' (0/sec)' <<<"$lines") == 2))
}

failed=()
for target in "${targets[@]}"; do
	package=${target%.*} name=${target##*.}
	echo "$target ($time)"
	# One at a time, so that the machine stays usable. To make what was found smaller can
	# take all the time otherwise.
	if { go test -run='^$' -fuzz="^$name\$" -fuzztime="$time" -fuzzminimizetime=1s -parallel=1 "$package" >"$out" 2>&1 ||
		timed_out "$out"; } && ! hangs "$out"; then
		grep -aE '^fuzz: .*execs: ' "$out" | tail -n 1 || true
	else
		failed+=("$target")
		cat "$out" >&2
	fi
done

echo "${#targets[@]} targets, each for $time"
if ((${#failed[@]} > 0)); then
	printf 'failed: %s\n' "${failed[@]}" >&2
	exit 1
fi
