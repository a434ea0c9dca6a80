//! What goes in, and what comes out, bit by bit, of every kind of sample and in every reader.
//!
//! `docs/reference/fidelity.md` is generated: `UPDATE_REFERENCE=1 cargo test -p promarchive-tests --test fidelity`.

mod archives;
mod cases;
mod matrix;
mod page;
mod queries;
mod sent;
mod value;
mod writers;

use std::fs;
use std::path::Path;

use archives::Archive;
use promarchive_model::Protocol::{V1, V2};
use promarchive_tests::program::Receiver;
use promarchive_tests::readers::Reader;
use promarchive_tests::request::{Request, Series};

#[test]
fn the_page_says_what_readers_see() {
    let sections = cases::sections();
    let archives = [V1, V2].map(|protocol| Archive::make(protocol, &sections));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/fidelity.md");
    let before = fs::read_to_string(&path).unwrap_or_default();
    let matrix = matrix::table(&archives[1], &before);
    let generated = page::page(&sections, &archives, &matrix);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let page = fs::read_to_string(path).unwrap_or_default();
    for (line, (found, wanted)) in page.lines().zip(generated.lines()).enumerate() {
        assert_eq!(found, wanted, "line {}: generate it anew, see the head of this test", line + 1);
    }
    assert!(page == generated, "the page has more or fewer lines: generate it anew, see the head of this test");
}

/// A file's bounds in the table's log are cut. Names that have no short upper bound must be found all the same.
#[test]
fn every_name_is_found_by_a_filter() {
    let names = ["\u{10FFFF}", "\u{D7FF}", "é", "z"].map(|character| character.repeat(100));
    let receiver = Receiver::start(&[]);
    for name in &names {
        assert_eq!(receiver.write(V2, &Request::of([Series::metric(name).sample(cases::T, 1.0)])).status, 204);
        receiver.flush();
    }
    for name in &names {
        for (reader, filter) in [
            (Reader::Pandas, format!(r#"pc.field("metric") == "{name}""#)),
            (Reader::Polars, format!(r#"pl.col("metric") == "{name}""#)),
            (Reader::DuckDb, format!("metric = '{name}'")),
        ] {
            let rows = value::select(reader, &receiver.archive(), "samples", &filter);
            assert_eq!(rows.keys().collect::<Vec<_>>(), [name], "{reader:?}");
        }
    }
}
