#!/usr/bin/env bash
# Makes the Python environment of tests/python/requirements.txt, unless it is
# there already, and prints the path of its python. PYTHON chooses another
# interpreter than python3.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

requirements=tests/python/requirements.txt
need_python

key=$({
	cat "$requirements"
	python_identity
} | sha256)

build() {
	say "installing the Python readers once, into $PROMARCHIVE_CACHE/python (about 800 MB, a minute)"
	python_env "$1" "DuckDB, Polars, pandas, deltalake" -r "$requirements"
}

dir=$PROMARCHIVE_CACHE/python/$key
build_once "$dir" build
echo "$dir/bin/python"
