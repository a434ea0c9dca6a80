//! Random damage: whatever it is, verification and inspection end with an answer.

use promarchive_model::environment::{Entropy, SeededEntropy};

use super::*;

fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bytes_never_end_in_a_panic() {
    // Decoders that panic inside say so on stderr, which is not what this test is about.
    let fixture = Fixture::new().await;
    for at in 0..33 {
        fixture.flush(&request(NOON + at * 60_000, 3)).await;
    }
    let sound = fixture.archive();
    let mut paths = Vec::new();
    for table in Table::ALL {
        let entries = fixture.store().table(table).walk().await.unwrap();
        paths.extend(entries.into_iter().map(|entry| format!("{}/{}", table.name(), entry.path)));
    }
    let entropy = SeededEntropy::new(7);
    let below = |bound: usize| usize::try_from(entropy.next_u64() % bound as u64).unwrap();
    let rounds = std::env::var("PROMARCHIVE_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(40);
    let mut silent = 0;
    for round in 0..rounds {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("archive");
        copy_tree(&sound, &archive);
        let name = &paths[below(paths.len())];
        let path = archive.join(name);
        let mut bytes = fs::read(&path).unwrap();
        for _ in 0..1 + below(3) {
            let at = below(bytes.len());
            bytes[at] ^= 1 << below(8);
        }
        fs::write(&path, bytes).unwrap();
        let store = store(&archive);
        let verification = verify(&store, &VerifyOptions::default(), fixture.clock.as_ref(), &()).await;
        let unnoticed = verification.is_ok_and(|verification| verification.findings.is_empty());
        assert!(!unnoticed || name.contains("/_delta_log/"), "a data file has a checksum: {name}");
        silent += u32::from(unnoticed);
        let _ = inspect(&store, &()).await;
        assert!(round < rounds);
    }
    println!("{silent} of {rounds} rounds of damage were not noticed: the log carries no checksum");
    assert!(silent < rounds, "nothing was noticed");
}
