#!/usr/bin/env bash
# readers.sh [--all]: installs the versions of readers that the matrix in
# docs/reference/fidelity.md tells of, unless they are there already, and prints
# a line for each environment: NAME=PLACE. Without --all, those that are quickly
# installed and quick to run. PYTHON chooses another interpreter than python3.
#
# An environment is a folder of modules that are put before those of
# scripts/python-env.sh; Spark 3.5 is a Python of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

names=(newest)
case ${1-} in
--all) names+=(oldest old older slow) ;;
"") ;;
*) die "usage: scripts/readers.sh [--all]" ;;
esac
need_python

build() {
	with_progress "readers: $name" \
		"$python" -m pip install --disable-pip-version-check --no-input --root-user-action ignore \
		--no-deps --only-binary :all: --target "$1" -r "$requirements"
}

for name in "${names[@]}"; do
	requirements=tests/python/readers/$name.txt
	key=$({
		cat "$requirements"
		python_identity
	} | sha256)
	dir=$PROMARCHIVE_CACHE/readers/$name-$key
	build_once "$dir" build
	echo "$name=$dir"
done
if [ "${1-}" = --all ]; then
	echo "spark-3.5=$(scripts/spark-env.sh tests/spark/3.5)"
fi
