//! A custom resource as the API server may have stored it, under whatever schema: what passes the operator's validation can be built.

use promarchive_api::metrics_archive::MetricsArchive;
use promarchive_operator::archive::validate::validate;
use promarchive_operator::kubernetes::quantity;

use crate::configuration::memory_limit;
use crate::memory::within;

/// Checks what the operator makes of a `MetricsArchive`, in YAML or JSON.
///
/// # Panics
///
/// If one passes that cannot be built, or if an object is not read again as it is written.
pub fn metrics_archive(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    for line in text.lines().take(16) {
        quantities(line);
    }
    let read = within(memory_limit(text), || serde_yaml::from_str::<MetricsArchive>(text));
    let Ok(archive) = read else { return };
    let written = serde_json::to_string(&archive).expect("an object that was read can be written");
    let again: MetricsArchive = serde_json::from_str(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(again, archive, "read again from {written}");
    match within(memory_limit(text), || validate(&archive)) {
        Ok(valid) => assert_buildable(&valid),
        Err(invalid) => assert!(invalid.to_string().starts_with(['m', 's']), "{invalid}"),
    }
}

fn assert_buildable(valid: &promarchive_operator::archive::validate::Archive) {
    assert!(valid.receiver.wal_max_bytes.0 >= 64 << 20, "{valid:?}");
    assert!(valid.receiver.memory_limit.0 >= 256 << 20, "{valid:?}");
    let hour = promarchive_api::Timespan::from_secs(3600);
    assert!(valid.selections.iter().all(|selection| selection.drain_timeout <= hour), "{valid:?}");
    assert!(valid.selections.iter().all(|selection| !selection.namespaces.is_empty()), "{valid:?}");
    assert!(valid.id.name.len() <= 52 && valid.id.host().split('.').all(|label| label.len() <= 63), "{valid:?}");
}

/// A whole number of bytes is the same with every suffix that fits it.
fn quantities(text: &str) {
    let Some(bytes) = quantity::bytes(text) else { return };
    let thousandths = quantity::thousandths(text).expect("bytes are thousandths first");
    assert_eq!(u128::from(bytes), (thousandths as u128).div_ceil(1000), "{text}");
    if bytes < 1_000_000_000_000_000_000 {
        assert_eq!(quantity::bytes(&bytes.to_string()), Some(bytes), "{text}");
    }
}
