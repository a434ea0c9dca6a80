//! What goes in, and what comes out, bit by bit, of every kind of sample and in every reader.
//!
//! `docs/reference/fidelity.md` is generated: `UPDATE_REFERENCE=1 cargo test -p promarchive-tests --test fidelity`.

mod archives;
mod cases;
mod page;
mod queries;
mod sent;
mod value;

use std::fs;
use std::path::Path;

use promarchive_pipeline::remote_write::Protocol::{V1, V2};

use archives::Archive;

#[test]
fn the_page_says_what_readers_see() {
    let sections = cases::sections();
    let archives = [V1, V2].map(|protocol| Archive::make(protocol, &sections));
    let generated = page::page(&sections, &archives);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/fidelity.md");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let page = fs::read_to_string(path).unwrap_or_default();
    for (line, (found, wanted)) in page.lines().zip(generated.lines()).enumerate() {
        assert_eq!(found, wanted, "line {}: generate it anew, see the head of this test", line + 1);
    }
    assert!(page == generated, "the page has more or fewer lines: generate it anew, see the head of this test");
}
