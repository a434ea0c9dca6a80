#!/usr/bin/env bash
# Makes the Python environment of tests/python/requirements.txt, unless it is
# there already, and prints the path of its python. PYTHON chooses another
# interpreter than python3.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

requirements=tests/python/requirements.txt
python=${PYTHON:-python3}

command -v "$python" >/dev/null || apt_install python3 python3-venv ||
	die "no $python. On Debian or Ubuntu: sudo apt-get install python3 python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	die "$("$python" --version) is too old: 3.11 or newer is needed. Name one with PYTHON=python3.12"
# Debian's python3 leaves this part to another package.
has_venv() { "$python" -c 'import venv, ensurepip' 2>/dev/null; }
has_venv || { apt_install python3-venv && has_venv; } ||
	die "$python cannot make environments. On Debian or Ubuntu: sudo apt-get install python3-venv"

key=$({
	cat "$requirements"
	"$python" -c 'import sys, sysconfig; print(sys.version, sysconfig.get_platform(), sys.base_prefix)'
} | sha256)

build() {
	say "installing the Python readers once, into $PROMARCHIVE_CACHE/python (about 800 MB, a minute)"
	"$python" -m venv "$1"
	with_progress "DuckDB, Polars, pandas, deltalake" \
		"$1/bin/python" -m pip install --disable-pip-version-check --no-input \
		--only-binary :all: -r "$requirements"
	"$1/bin/python" -m pip check >&2
	# These name the directory that the environment was made in, which is about
	# to be renamed. bin/python works anywhere, and so does `python -m pip`.
	rm -f "$1"/bin/activate* "$1"/bin/Activate.ps1 "$1"/bin/pip*
}

dir=$PROMARCHIVE_CACHE/python/$key
build_once "$dir" build
echo "$dir/bin/python"
