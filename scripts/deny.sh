#!/usr/bin/env bash
# Checks licences, banned crates and sources of all dependencies (deny.toml)
# with a pinned cargo-deny, which is built once into the cache.
#
# deny.sh advisories: known faults of the dependencies instead. It fetches the
# RustSec database from the network (or takes the clone that is in the cache, with
# CARGO_DENY_ARGS=--offline), so it is not a part of CI.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
need_cargo

version=0.20.2

build() {
	say "building cargo-deny once, into $PROMARCHIVE_CACHE (3 to 5 minutes on two cores)"
	with_progress "cargo-deny $version" \
		cargo install --locked --root "$1" "cargo-deny@$version"
}

dir=$PROMARCHIVE_CACHE/cargo-deny-$version
build_once "$dir" build
case ${1-} in
advisories)
	# shellcheck disable=SC2086
	"$dir/bin/cargo-deny" --locked ${CARGO_DENY_ARGS-} check advisories
	;;
"")
	# Not advisories: they need a database from the network, and change without us.
	"$dir/bin/cargo-deny" --locked check licenses bans sources
	;;
*) die "usage: scripts/deny.sh [advisories]" ;;
esac
