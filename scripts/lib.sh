# shellcheck shell=bash
# Helpers that the other scripts share; source it from bash.
#
# Everything a person should see goes to standard error, because the scripts
# answer with a directory on standard output.

# What is built or installed on demand lives outside the clone, so that a fresh
# clone (or CI's) finds it again.
PROMARCHIVE_CACHE=${PROMARCHIVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/promarchive}

say() { printf '%s\n' "$*" >&2; }

die() {
	say "error: $*"
	exit 1
}

# apt_install PACKAGE...: on Debian and its children, as root. Fails elsewhere,
# so that the caller can tell what to do instead.
apt_install() {
	command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || return 1
	say "installing $* with apt-get"
	apt-get update -qq >&2 &&
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

need_c_compiler() {
	command -v cc >/dev/null || apt_install build-essential ||
		die "no C compiler (zstd is C). On Debian or Ubuntu: sudo apt-get install build-essential"
}

need_strace() {
	command -v strace >/dev/null || apt_install strace ||
		die "no strace. On Debian or Ubuntu: sudo apt-get install strace"
}

need_cargo() {
	command -v cargo >/dev/null ||
		die "no cargo. To install Rust: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
	need_c_compiler
}

need_rust_linters() {
	need_cargo
	if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
		die "no rustfmt or no clippy. To install them: rustup component add rustfmt clippy"
	fi
}

need_go() {
	command -v go >/dev/null || die "no Go. Install Go 1.26.7 or newer: https://go.dev/doc/install"
	# Static programs that run in any image.
	export CGO_ENABLED=0
	# A caller's flags must not change what is built.
	export GOFLAGS=-buildvcs=false
}

# Sets `python`, which can make environments.
need_python() {
	python=${PYTHON:-python3}
	command -v "$python" >/dev/null || apt_install python3 python3-venv ||
		die "no $python. On Debian or Ubuntu: sudo apt-get install python3 python3-venv"
	"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
		die "$("$python" --version) is too old: 3.11 or newer is needed. Name one with PYTHON=python3.12"
	# Debian's python3 leaves this part to another package.
	has_venv() { "$python" -c 'import venv, ensurepip' 2>/dev/null; }
	has_venv || { apt_install python3-venv && has_venv; } ||
		die "$python cannot make environments. On Debian or Ubuntu: sudo apt-get install python3-venv"
}

# What an environment depends on beside its requirements.
python_identity() {
	"$python" -c 'import sys, sysconfig; print(sys.version, sysconfig.get_platform(), sys.base_prefix)'
}

# python_env DIR WHAT ARGUMENT...: makes DIR an environment, and gives the
# arguments to pip there.
python_env() {
	local dir=$1 what=$2
	shift 2
	"$python" -m venv "$dir"
	with_progress "$what" \
		"$dir/bin/python" -m pip install --disable-pip-version-check --no-input --only-binary :all: "$@"
	"$dir/bin/python" -m pip check >&2
	# These name the directory that the environment was made in, which is about
	# to be renamed. bin/python works anywhere, and so does `python -m pip`.
	rm -f "$dir"/bin/activate* "$dir"/bin/Activate.ps1 "$dir"/bin/pip*
}

# pinned FOLDER MODULE: the version of MODULE in FOLDER's go.mod, without the "v".
pinned() {
	go -C "tests/go/$1" list -mod=readonly -m -f '{{.Version}}' "$2" | sed 's/^v//'
}

# A short hash of standard input: the name of what was made from it.
sha256() {
	if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c 1-16
}

# with_progress WHAT COMMAND...: runs the command quietly, says every ten
# seconds that it is still at it, and shows the end of its output if it fails.
with_progress() {
	local what=$1 log pid start=$SECONDS next status=0
	shift
	log=$(mktemp)
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	# shellcheck disable=SC2064 # expanded now, while the pid is known
	trap "kill $pid 2>/dev/null" EXIT
	say "$what ..."
	next=$((SECONDS + 10))
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		if ((SECONDS >= next)); then
			say "$what ... $((SECONDS - start)) s"
			next=$((SECONDS + 10))
		fi
	done
	wait "$pid" || status=$?
	trap - EXIT
	if ((status == 0)); then
		say "$what: done in $((SECONDS - start)) s"
	else
		say "$what: failed after $((SECONDS - start)) s:"
		tail -n 40 "$log" >&2
	fi
	rm -f "$log"
	return "$status"
}

# build_once DIR FUNCTION: unless DIR is there, FUNCTION fills a new directory
# (its argument), which then becomes DIR in one rename. A build that dies half
# way leaves nothing that looks finished, and of two at once the second waits.
build_once() {
	local dir=$1 build=$2 tmp
	[ -d "$dir" ] && return
	mkdir -p "$(dirname "$dir")"
	(
		if command -v flock >/dev/null; then
			flock -n 9 || {
				say "waiting for another process that builds $dir"
				flock 9
			}
		fi
		[ -d "$dir" ] && exit
		tmp=$dir.building
		rm -rf "$tmp"
		mkdir "$tmp"
		"$build" "$tmp"
		mv "$tmp" "$dir"
	) 9>"$dir.lock"
}
