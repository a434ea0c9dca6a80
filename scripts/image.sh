#!/usr/bin/env bash
# Makes the image as an OCI archive, without a container engine:
# $CARGO_TARGET_DIR/image/promarchive-VERSION.tar, whose path is printed. Its files
# lie beside it under rootfs/, for the Dockerfile, and so does its bill of materials,
# promarchive-VERSION.cdx.json (CycloneDX).
#
# IMAGE_PROFILE=ci takes the programs of the tests, with their libraries: quick, but
# with fail points in them. IMAGE_NAME and IMAGE_TAG name it otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

profile=${IMAGE_PROFILE:-release}
target_dir=${CARGO_TARGET_DIR:-target}
version=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' Cargo.toml)
name=${IMAGE_NAME:-ghcr.io/promarchive/promarchive}
tag=${IMAGE_TAG:-$version}
tests=(--locked --profile ci --workspace --features failpoints)

# Static programs need nothing from an image. With an explicit target the flag is
# not for build scripts and macros, which could not be loaded.
build_static() {
	case $host in *-linux-*) ;; *) die "images are made on Linux, not on $host" ;; esac
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile "$profile" --target "$host" \
		-p promarchive -p promarchive-operator --bins >&2
	programs=$target_dir/$host/$profile
}

build_for_tests() {
	cargo build "${tests[@]}" --bins >&2
	programs=$target_dir/ci
}

need_cargo
need_python
host=$(rustc -vV | sed -n 's/^host: //p')
case $profile in
ci) build_for_tests ;;
*) build_static ;;
esac
cargo build "${tests[@]}" --bin promarchive-cluster >&2

out=$target_dir/image
rm -rf "$out/rootfs"
mkdir -p "$out/rootfs/etc"
cp "$programs/promarchive" "$programs/promarchive-operator" "$out/rootfs/"
install -m 644 scripts/image.passwd "$out/rootfs/etc/passwd"
archive=$out/promarchive-$tag.tar
"$target_dir/ci/promarchive-cluster" image --name "$name" --tag "$tag" --entrypoint /promarchive --output "$archive" \
	--label org.opencontainers.image.title=promarchive \
	--label "org.opencontainers.image.description=Stores every Prometheus sample in tables that any data tool can open" \
	--label org.opencontainers.image.source=https://github.com/promarchive/promarchive \
	--label org.opencontainers.image.licenses=Apache-2.0 \
	--label "org.opencontainers.image.version=$version" \
	"$out/rootfs/promarchive" "$out/rootfs/promarchive-operator" "$out/rootfs/etc/passwd:/etc/passwd" >&2
"$python" scripts/sbom.py --target "$host" --name "$name" --tag "$tag" --output "$out/promarchive-$tag.cdx.json" \
	promarchive promarchive-operator
say "$name:$tag"
echo "$archive"
