#!/usr/bin/env bash
# Builds the fuzz targets and runs each for FUZZ_SECONDS, as many at a time as
# there are processors: scripts/fuzz.sh [TARGET...]
#
# With plain cargo and the flags of cargo-fuzz, so that neither it nor a nightly
# compiler has to be installed. What a run finds is kept for the next one, in
# $CARGO_TARGET_DIR/fuzz/found; an input that fails, in .../failed. With FUZZ_SEED
# a run starts from the corpus alone and tries the same inputs each time.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
need_cargo
command -v c++ >/dev/null || apt_install build-essential ||
	die "no C++ compiler (libFuzzer is C++). On Debian or Ubuntu: sudo apt-get install build-essential"

seconds=${FUZZ_SECONDS:-60}
home=tests/fuzz/fuzz
dir=${CARGO_TARGET_DIR:-target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

targets=("$@")
if ((${#targets[@]} == 0)); then
	for source in "$home"/fuzz_targets/*.rs; do
		targets+=("$(basename "$source" .rs)")
	done
fi

# Edges and comparisons are reported to libFuzzer. No address sanitizer: it needs
# a nightly compiler, and our crates have no unsafe code.
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
	-Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0
	-Ccodegen-units=1 --cfg fuzzing"

build() {
	# With --target the flags are not for build scripts.
	RUSTFLAGS=${coverage//[$'\n\t']/ } cargo build --locked --release --manifest-path "$home/Cargo.toml" \
		--target "$host" --target-dir "$dir" --bins
}

# run TARGET: until the time is over or an input fails; libFuzzer's output is in a log.
run() {
	local found=$dir/found/$1 failed=$dir/failed/$1 dictionary=$home/dictionaries/$1.dict
	[ -z "${FUZZ_SEED-}" ] || rm -rf "$found"
	mkdir -p "$found" "$failed"
	local options=(-max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1
		-artifact_prefix="$failed/")
	[ -f "$dictionary" ] && options+=(-dict="$dictionary")
	[ -z "${FUZZ_SEED-}" ] || options+=(-seed="$FUZZ_SEED")
	# New inputs go to the first folder only.
	"$dir/$host/release/$1" "${options[@]}" "$found" "$home/corpus/$1" >"$dir/$1.log" 2>&1
}

# The last that libFuzzer said of a target, in words.
progress() {
	sed -n 's/^#\([0-9]*\).* cov: \([0-9]*\) .*corp: \([0-9]*\).*exec\/s: \([0-9]*\).*/\1 inputs (\4 a second), \2 edges reached, \3 kept/p' \
		"$dir/$1.log" | tail -n 1
}

say_progress() {
	for target in "${!running[@]}"; do
		say "  $target, $((SECONDS - ${started[$target]})) of $seconds s: $(progress "$target")"
	done
}

# Waits until fewer than $1 run, and tells of those that end.
wait_for_fewer_than() {
	local next=$((SECONDS + 15)) target
	while ((${#running[@]} >= $1)); do
		sleep 0.5
		for target in "${!running[@]}"; do
			kill -0 "${running[$target]}" 2>/dev/null && continue
			if wait "${running[$target]}"; then
				say "$target: $(progress "$target"), none failed"
			else
				bad+=("$target")
				say "$target: FAILED"
				grep -v '^#' "$dir/$target.log" | tail -n 40 >&2
			fi
			unset "running[$target]"
		done
		if ((SECONDS >= next)); then
			say_progress
			next=$((SECONDS + 15))
		fi
	done
}

mkdir -p "$dir"
with_progress "building the fuzz targets (a minute or two the first time)" build
declare -A running=() started=()
bad=()
trap 'for pid in "${running[@]}"; do kill "$pid" 2>/dev/null; done' EXIT
say "fuzzing ${#targets[@]} targets for $seconds s each, $(nproc) at a time"
for target in "${targets[@]}"; do
	wait_for_fewer_than "$(nproc)"
	run "$target" &
	running[$target]=$! started[$target]=$SECONDS
done
wait_for_fewer_than 1
((${#bad[@]} == 0)) ||
	die "failed: ${bad[*]}. The inputs are in $dir/failed; CONTRIBUTING.md says how to make tests of them"
