#!/usr/bin/env bash
# Builds the object stores that the tests keep archives in, as pinned under
# tests/go, unless they are built already, and prints the directory that they
# are in: versitygw, which speaks S3 and keeps its objects in a directory.
#
#   scripts/store-servers.sh            build on demand
#   scripts/store-servers.sh --update   after a version changed in a go.mod
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

need_go

module=github.com/versity/versitygw

if [ "${1-}" = --update ]; then
	go -C tests/go/versitygw mod tidy
	say "go.mod and go.sum are up to date"
	exit
fi

version=$(pinned versitygw $module)
flags=(-trimpath -mod=readonly -ldflags "-s -w -X main.Version=v$version")

key=$({
	cat tests/go/versitygw/go.mod tests/go/versitygw/go.sum
	go env GOOS GOARCH
	printf '%s\n' "${flags[@]}"
} | sha256)

build() {
	say "building the object stores once, into $PROMARCHIVE_CACHE/stores (3 to 6 minutes on two cores)"
	with_progress "versitygw $version" \
		go -C tests/go/versitygw build "${flags[@]}" -o "$1/" $module/cmd/versitygw
}

dir=$PROMARCHIVE_CACHE/stores/$key
build_once "$dir" build
echo "$dir"
