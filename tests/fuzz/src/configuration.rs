//! What a person writes for a receiver: the configuration file, the tokens file, and single values as flags have them. Every input
//! is tried as each of them.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use promarchive_api::receiver_settings::Settings;
use promarchive_api::tokens_file::{TokenLine, TokenSet, good_lines, write};
use promarchive_api::{ArchiveLocation, ByteSize, Configuration, LabelColumns, Timespan, UnknownTokens, parse_listen};

use crate::memory::within;

/// What reading a file may take, in bytes: the YAML library has a buffer of its own, and a node for each of the shortest items.
pub(crate) fn memory_limit(text: &str) -> usize {
    (256 << 10) + 512 * text.len()
}

/// Checks what is read from a text.
///
/// # Panics
///
/// If something that was read is not read again from what is written of it, or if an error is more than one line.
pub fn configuration(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    config_file(text);
    for unknown in [UnknownTokens::Refuse, UnknownTokens::Retry] {
        tokens_file(text, unknown);
    }
    for line in text.lines().take(16) {
        value::<ByteSize>(line);
        value::<Timespan>(line);
        value::<LabelColumns>(line);
        value::<ArchiveLocation>(line);
        if let Ok(address) = parse_listen(line) {
            assert_eq!(parse_listen(&address.to_string()).ok(), Some(address));
        }
    }
}

fn config_file(text: &str) {
    let read = within(memory_limit(text), || Configuration::from_yaml("receiver.yaml", text));
    let config = match read {
        Ok(config) => config,
        Err(error) => return assert_one_line(&error.to_string()),
    };
    let written = config.to_receiver_yaml();
    let again = Configuration::from_yaml("written.yaml", &written);
    assert_eq!(again.as_ref(), Ok(&config), "{written}");
    match Settings::resolve(config) {
        Ok(settings) => {
            assert!(settings.flush_bytes <= settings.memory_limit / 4, "{settings:?}");
            assert!(settings.dedup_horizon >= settings.flush_interval.saturating_mul(2), "{settings:?}");
            assert!(
                settings
                    .archive
                    .directory()
                    .is_none_or(|archive| !settings.wal.starts_with(archive) || archive.as_os_str().is_empty()),
                "{settings:?}"
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A token must not get into a log by the way of an error: nothing of what a line has may be told. What is in order is read again from
/// what is written of it.
fn tokens_file(text: &str, unknown: UnknownTokens) {
    let lines: Vec<TokenLine> = good_lines(text).collect();
    assert_eq!(good_lines(&write(text, &lines)).collect::<Vec<_>>(), lines);
    match within(memory_limit(text), || TokenSet::parse("tokens", text, unknown)) {
        Ok(tokens) => {
            let said = text.strip_prefix('\u{feff}').unwrap_or(text);
            let lines =
                said.lines().filter(|line| !line.split('#').next().unwrap_or_default().trim().is_empty()).count();
            assert_eq!(tokens.len(), lines, "every line that says something is a token");
            assert!(tokens.senders().iter().all(|sender| (1..=2).contains(&sender.tokens.len())), "{tokens:?}");
        }
        Err(error) => {
            let error = error.to_string();
            assert_one_line(&error);
            let words = text.lines().flat_map(str::split_whitespace);
            for word in words.filter(|word| word.len() >= 64) {
                assert!(!error.contains(word), "{error:?} tells what may be a token");
            }
        }
    }
}

fn value<T>(text: &str)
where
    T: FromStr<Err: Display> + Display + PartialEq + Debug,
{
    match text.parse::<T>() {
        Ok(value) => {
            let written = value.to_string();
            assert_eq!(written.parse::<T>().ok().as_ref(), Some(&value), "{text:?}, written as {written:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn assert_one_line(error: &str) {
    assert!(!error.contains('\n'), "{error:?}");
}
