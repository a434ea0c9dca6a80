#!/usr/bin/env bash
# Builds the Dockerfile from the files of `make image` with Debian's buildah, which
# is unpacked into the cache and not installed, and compares the result with the
# archive that `make image` wrote: the same programs, user and entry point.
#
#   scripts/image-buildah.sh ARCHIVE    as `make image` printed it
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

archive=${1:?which archive? Give what make image printed}
packages=(buildah golang-github-containers-common libgpgme11 libassuan0 libgpg-error0
	libdevmapper1.02.1 libseccomp2 libudev1 libselinux1 libpcre2-8-0)
key=$({
	printf '%s\n' "${packages[@]}"
	grep VERSION_CODENAME /etc/os-release
	dpkg --print-architecture
} | sha256)

unpack() {
	local to=$1 deb
	(cd "$to" && apt-get download -qq "${packages[@]}") >&2 ||
		die "cannot download ${packages[*]}. Try: sudo apt-get update"
	for deb in "$to"/*.deb; do dpkg-deb -x "$deb" "$to/root"; done
	rm -f "$to"/*.deb
	# No registry is asked, and nothing is verified that was just made here.
	echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$to/policy.json"
	echo 'unqualified-search-registries = []' >"$to/registries.conf"
}

buildah() {
	local library
	library=$(find "$tools/root/usr/lib" -maxdepth 1 -name "*-linux-gnu*")
	LD_LIBRARY_PATH=$library:$tools/root/lib/${library##*/} CONTAINERS_REGISTRIES_CONF=$tools/registries.conf \
		"$tools/root/usr/bin/buildah" --root "$work/store" --runroot "$work/run" --storage-driver vfs "$@" >&2
}

# facts ARCHIVE: who runs what, and the digest of each file in its one layer.
facts() {
	local dir
	dir=$(mktemp -d -p "$work")
	tar -xf "$1" -C "$dir"
	python3 - "$dir" <<'PYTHON'
import hashlib, json, pathlib, sys, tarfile
root = pathlib.Path(sys.argv[1])
blob = lambda descriptor: root / "blobs" / descriptor["digest"].replace(":", "/")
manifest = json.loads(blob(json.loads((root / "index.json").read_text())["manifests"][0]).read_text())
config = json.loads(blob(manifest["config"]).read_text())["config"]
print(config["User"], config["Entrypoint"], config["Labels"]["org.opencontainers.image.licenses"])
files = {}
for layer in manifest["layers"]:
    with tarfile.open(blob(layer)) as tar:
        files |= {m.name.strip("./"): (oct(m.mode & 0o777), hashlib.sha256(tar.extractfile(m).read()).hexdigest())
                  for m in tar if m.isfile()}
for name in ("promarchive", "promarchive-operator", "etc/passwd"):
    print(name, *files[name])
PYTHON
}

tools=$PROMARCHIVE_CACHE/buildah/$key
build_once "$tools" unpack
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
buildah bud --isolation chroot --signature-policy "$tools/policy.json" --file Dockerfile --tag promarchive "$(dirname "$archive")"
buildah push --signature-policy "$tools/policy.json" promarchive "oci-archive:$work/image.tar"
ours=$(facts "$archive")
diff <(echo "$ours") <(facts "$work/image.tar") >&2 || die "the Dockerfile makes another image than make image"
say "the Dockerfile makes the same image:"
say "$ours"
