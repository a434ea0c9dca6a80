//! Images of the readers that the documentation names: somebody's own with Python and DuckDB, and busybox.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use promarchive_cluster::{Image, Result};

use crate::install::ROOT;

/// Parts of Python's library that are large and that no reader needs.
const NEEDLESS: [&str; 8] =
    ["__pycache__", "site-packages", "test", "idlelib", "ensurepip", "lib2to3", "tkinter", "turtledemo"];
/// What DuckDB is, among everything that the tests' Python has.
const DUCKDB: [&str; 5] = ["duckdb", "_duckdb", "duckdb-", "duckdb_ext", "pytz"];

/// The image of the page's pod that reads: Python, DuckDB, `sleep`, `tar`, and the files of examples/ in /examples.
pub(crate) fn reader() -> Result<Image> {
    let mut image = with_programs("registry.example.org/reader:1", &["sh", "ls", "sleep", "tar", "touch"])?;
    let [python, library, packages] = python();
    image = image.file("/usr/lib/reader/python3", 0o755, &python)?.libraries_of(&python)?;
    image = with_directory(image, &library, &|name| !NEEDLESS.contains(&name) && !name.starts_with("config-"))?;
    for entry in entries(&packages) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let named = |of_duckdb: &str| match of_duckdb.strip_suffix('-') {
            Some(_) => name.starts_with(of_duckdb) && name.ends_with(".dist-info"),
            None => name.split('.').next() == Some(of_duckdb),
        };
        if DUCKDB.iter().any(|of_duckdb| named(of_duckdb)) {
            image = with_path(image, &entry, &|name| name != "__pycache__")?;
        }
    }
    for example in ["query.py", "promarchive.sql"] {
        image = image.file(&format!("/examples/{example}"), 0o644, &Path::new(ROOT).join("examples").join(example))?;
    }
    let home = library.ancestors().nth(2).unwrap_or(Path::new("/"));
    let (home, packages) = (home.display(), packages.display());
    let start = format!(
        "#!/bin/sh\nexport PYTHONHOME={home} PYTHONPATH={packages} PYTHONDONTWRITEBYTECODE=1\n\
         exec /usr/lib/reader/python3 \"$@\"\n"
    );
    Ok(image.text("/usr/bin/python3", 0o755, &start))
}

/// As much of busybox as the documentation uses.
pub(crate) fn busybox() -> Result<Image> {
    with_programs("docker.io/library/busybox:1.37", &["sh", "mkdir", "chown"])
}

/// Programs of this machine, in /bin.
fn with_programs(name: &str, programs: &[&str]) -> Result<Image> {
    let users = "root:x:0:0:root:/:/none\nnobody:x:65534:65534:nobody:/:/none\n";
    let mut image = Image::new(name).text("/etc/passwd", 0o644, users).directory("/tmp", 0o1777);
    for program in programs {
        let found = env::split_paths(&env::var_os("PATH").unwrap_or_default())
            .map(|directory| directory.join(program))
            .find(|path| path.is_file())
            .unwrap_or_else(|| panic!("no program {program} in PATH"));
        image = image.file(&format!("/bin/{program}"), 0o755, &found)?.libraries_of(&found)?;
    }
    Ok(image)
}

/// The interpreter of the tests, its own library, and the directory of what was installed for it.
fn python() -> [PathBuf; 3] {
    let python = env::var("PROMARCHIVE_PYTHON").expect("make sets it");
    let ask = "import os, sys, sysconfig; paths = sysconfig.get_paths()\n\
               for path in sys.executable, paths['stdlib'], paths['platlib']: print(os.path.realpath(path))";
    let output = Command::new(&python).args(["-c", ask]).output().unwrap();
    assert!(output.status.success(), "{python}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let paths: Vec<PathBuf> = text.lines().map(PathBuf::from).collect();
    paths.try_into().unwrap_or_else(|_| panic!("{python}: {text}"))
}

/// A directory with everything in it that has a name that `take` takes, at its own path.
fn with_directory(mut image: Image, directory: &Path, take: &dyn Fn(&str) -> bool) -> Result<Image> {
    for entry in entries(directory) {
        if take(&entry.file_name().unwrap_or_default().to_string_lossy()) {
            image = with_path(image, &entry, take)?;
        }
    }
    Ok(image)
}

fn with_path(image: Image, path: &Path, take: &dyn Fn(&str) -> bool) -> Result<Image> {
    if path.is_dir() {
        return with_directory(image, path, take);
    }
    let image = image.file(&path.to_string_lossy(), 0o644, path)?;
    match path.extension().is_some_and(|extension| extension == "so" || extension == "duckdb_extension") {
        true => image.libraries_of(path),
        false => Ok(image),
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}
