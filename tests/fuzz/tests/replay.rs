//! Every input that the fuzzer found worth keeping, and every input that ever showed a fault, without the fuzzer.

use std::fs;
use std::path::{Path, PathBuf};

use promarchive_fuzz::TARGETS;

/// Files in `folder`, in the order of their names; none if there is no such folder.
fn inputs(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths
}

// One test: memory is counted for the whole process.
#[test]
fn every_input_that_was_kept_passes() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, check) in TARGETS {
        let corpus = inputs(&here.join("fuzz/corpus").join(name));
        assert!(corpus.len() >= 3, "{name} has no corpus");
        let regressions = inputs(&here.join("regressions").join(name));
        for path in corpus.iter().chain(&regressions) {
            // The name of the last one printed is the name of the one that failed.
            println!("{}", path.display());
            check(&fs::read(path).expect("a readable file"));
        }
    }
}
