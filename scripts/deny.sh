#!/usr/bin/env bash
# Checks licences, banned crates and sources of all dependencies (deny.toml)
# with a pinned cargo-deny, which is built once into the cache.
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
# Not advisories: they need a database from the network, and change without us.
"$dir/bin/cargo-deny" --locked check licenses bans sources
