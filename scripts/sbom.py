#!/usr/bin/env python3
"""Writes a software bill of materials (CycloneDX 1.6, JSON) of the programs in the image.

    scripts/sbom.py --target TRIPLE --name IMAGE --tag TAG --output FILE PACKAGE...

It lists every crate that the packages link, as `cargo metadata --locked` resolves them for TRIPLE: name, version, licence,
package URL, and the checksum that Cargo.lock holds. Crates that only build or test something are left out, macros too, and so
is the C library, which comes from the machine that builds. The same Cargo.lock gives the same bytes: there is no time and no random
number in the file.
"""

import argparse
import json
import pathlib
import subprocess
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("target", "name", "tag", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("packages", nargs="+", metavar="PACKAGE")
    return parser.parse_args()


def metadata(target):
    command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={target}"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def is_macro(package):
    return any("proc-macro" in target["kind"] for target in package["targets"])


def linked_by(node, packages):
    """What a crate links itself: neither what only builds or tests it, nor macros, which run in the compiler."""
    normal = [dep["pkg"] for dep in node["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
    return [one for one in normal if not is_macro(packages[one])]


def linked(given):
    """Names and versions of all crates that end in the programs. What the metadata resolve is a little more, because there the
    whole workspace asks for features."""
    command = ["cargo", "tree", "--locked", "--edges=normal,no-proc-macro", "--prefix=none", "--format={p}"]
    command += [f"--target={given.target}", *(f"--package={name}" for name in given.packages)]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return {tuple(line.split()[:2]) for line in lines if line.strip()}


def reference(package):
    return f"{package['name']}@{package['version']}"


def component(package, checksums):
    entry = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
    }
    # The crates of this repository are in no registry.
    if package["source"]:
        entry["purl"] = f"pkg:cargo/{reference(package)}"
    if package["license"]:
        # An older way to write OR.
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if package["repository"]:
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return entry


def bill(given):
    data = metadata(given.target)
    packages = {package["id"]: package for package in data["packages"]}
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    members = {packages[member]["name"]: member for member in data["workspace_members"]}
    roots = [members[name] for name in given.packages]
    names = linked(given)
    is_linked = {id: (one["name"], f"v{one['version']}") in names for id, one in packages.items()}
    found = sorted((one for one in nodes if is_linked[one]), key=lambda one: reference(packages[one]))
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(one["name"], one["version"]): one.get("checksum") for one in lock["package"]}
    image = f"{given.name}:{given.tag}"
    depends = [{"ref": image, "dependsOn": sorted(reference(packages[one]) for one in roots)}]
    for one in found:
        refs = sorted({reference(packages[dep]) for dep in linked_by(nodes[one], packages) if is_linked[dep]})
        depends.append({"ref": reference(packages[one]), "dependsOn": refs})
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": image, "name": given.name, "version": given.tag}},
        "components": [component(packages[one], checksums) for one in found],
        "dependencies": depends,
    }


def main():
    given = arguments()
    text = json.dumps(bill(given), indent=1, ensure_ascii=False) + "\n"
    pathlib.Path(given.output).write_text(text, encoding="utf-8")


main()
