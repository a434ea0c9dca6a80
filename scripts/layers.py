#!/usr/bin/env python3
"""Which crate may know which: the rule of ARCHITECTURE.md, checked on `cargo metadata`. Run by `make lint`."""
import json, pathlib, re, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BELOW_PIPELINE = {"api", "model", "directory", "wire", "wal", "archive"}
# What a crate may depend on, as `crates/<name>`; all others may depend on nothing of ours.
RULE = {
    "api": set(),
    "model": set(),
    "allocator": set(),
    "directory": set(),
    "wire": {"model"},
    "wal": {"model", "directory"},
    "archive": {"api", "model", "directory"},
    "pipeline": BELOW_PIPELINE,
    "inspection": BELOW_PIPELINE - {"wire"} | {"allocator"},
    "maintenance": BELOW_PIPELINE - {"wal"},
    "query": BELOW_PIPELINE - {"wal"},
    "cli": BELOW_PIPELINE | {"pipeline", "inspection", "maintenance", "query", "allocator"},
    "operator": {"api", "allocator"},
    "testkit": BELOW_PIPELINE,
}
# For tests only, besides RULE and testkit: its tests make archives as the receiver does.
TESTS = {"inspection": {"pipeline", "wire"}}
# Libraries that one crate alone may know. inspection reads Parquet by itself until there is `archive/scan`.
ONLY = {
    "delta_kernel": {"archive"},
    "delta_kernel_default_engine": {"archive"},
    "parquet": {"archive", "inspection"},
    "arrow": {"archive", "inspection"},
    "kube": {"api", "operator"},
    "axum": {"pipeline"},
    "config": {"cli"},
}


def main() -> int:
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    folder = {p["name"]: pathlib.Path(p["manifest_path"]).parent.relative_to(ROOT) for p in metadata["packages"]}
    faults = []
    for package in metadata["packages"]:
        place = folder[package["name"]]
        if place.parts[0] != "crates":  # tests and generators may know all
            continue
        name = place.name
        if name not in RULE:
            faults.append(f"crates/{name} has no place in scripts/layers.py")
            continue
        for dependency in package["dependencies"]:
            tests = dependency["kind"] == "dev"
            if dependency["name"] in ONLY and not tests and name not in ONLY[dependency["name"]]:
                faults.append(f"crates/{name} depends on {dependency['name']}")
            if dependency["name"] not in folder:
                continue
            other = folder[dependency["name"]].name
            allowed = RULE[name] | (TESTS.get(name, set()) | {"testkit"} if tests else set())
            if other not in allowed:
                faults.append(f"crates/{name} depends on crates/{other}" + (" in its tests" if tests else ""))
    # Nobody includes another crate's sources.
    for source in ROOT.glob("tests/**/*.rs"):
        if "target" not in source.parts and re.search(r'#\[path = "(\.\./)+crates/', source.read_text()):
            faults.append(f"{source.relative_to(ROOT)} includes sources of a crate by path")
    # A fail point that no code reaches: the compiler does not see it across crates.
    points = ROOT / "crates/model/src/failpoint.rs"
    if points.exists():
        text = "\n".join(f.read_text() for f in ROOT.glob("crates/*/src/**/*.rs") if f != points)
        for variant in re.findall(r"^    (\w+) => \"[a-z-]+\",$", points.read_text(), re.M):
            if f"FailPoint::{variant}" not in text:
                faults.append(f"the fail point {variant} is never reached")
    for fault in faults:
        print(f"layers: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
