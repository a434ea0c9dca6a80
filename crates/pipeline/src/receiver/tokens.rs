//! Who may write: names of senders and the SHA-256 hashes of their bearer tokens, from a file.
//!
//! One line a token: the sender's name, white space, the hash as 64 hexadecimal digits. `#` starts a comment. A sender
//! may have two lines at a time, so that a token can be changed without a gap: add the new one, change the sender, take
//! the old one out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tracing::{error, info};

use super::metrics::Metrics;

const TOKENS_PER_SENDER: usize = 2;
const LONGEST_FILE_BYTES: u64 = 1 << 20;
const LONGEST_NAME_BYTES: usize = 128;

type Hash = [u8; 32];

/// What is wrong with a tokens file. Never holds anything that might be a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// The file cannot be read.
    #[error("{file}: cannot read the tokens file: {reason}")]
    Read {
        /// Path of the file.
        file: String,
        /// What the operating system said.
        reason: String,
    },
    /// A line is not a name and a hash.
    #[error("{file}:{line}: {fault}")]
    Line {
        /// Path of the file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong, and what to write.
        fault: String,
    },
    /// Nobody could write.
    #[error(
        "{file}: holds no token, every request would be refused: add a line \"NAME SHA256\", for example from \
             printf %s \"$TOKEN\" | sha256sum"
    )]
    Empty {
        /// Path of the file.
        file: String,
    },
}

/// The tokens of one version of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TokenSet {
    senders: HashMap<Hash, Arc<str>>,
}

impl TokenSet {
    /// Reads `text`; `file` is its name in errors.
    fn parse(file: &str, text: &str) -> Result<Self, TokensError> {
        let mut lines_of: HashMap<Hash, usize> = HashMap::new();
        let mut tokens_of: HashMap<&str, usize> = HashMap::new();
        let mut senders = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let refused = |fault: String| TokensError::Line { file: file.to_owned(), line: number + 1, fault };
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(name) = words.next() else { continue };
            let hash = words.next().ok_or_else(|| refused(SHAPE.to_owned()))?;
            if words.next().is_some() || name.len() > LONGEST_NAME_BYTES {
                return Err(refused(SHAPE.to_owned()));
            }
            let hash = parse_hash(hash).ok_or_else(|| refused(SHAPE.to_owned()))?;
            if let Some(first) = lines_of.insert(hash, number + 1) {
                return Err(refused(format!(
                    "the same hash as on line {first}: every token belongs to one sender, once"
                )));
            }
            let tokens = tokens_of.entry(name).or_default();
            *tokens += 1;
            if *tokens > TOKENS_PER_SENDER {
                let fault =
                    format!("a third token for sender \"{name}\": at most {TOKENS_PER_SENDER}, take an old one out");
                return Err(refused(fault));
            }
            senders.insert(hash, Arc::from(name));
        }
        if senders.is_empty() {
            return Err(TokensError::Empty { file: file.to_owned() });
        }
        Ok(Self { senders })
    }

    /// The name of the sender whose token this is.
    pub(super) fn sender(&self, token: &[u8]) -> Option<Arc<str>> {
        // Not in constant time, and need not be: what is compared are hashes, and from how far two hashes agree nobody
        // can build a token that agrees further.
        self.senders.get(&Hash::from(Sha256::digest(token))).cloned()
    }
}

const SHAPE: &str = "want \"NAME SHA256\", where SHA256 is the hash of the token in 64 hexadecimal digits, for example from \
                     printf %s \"$TOKEN\" | sha256sum";

fn parse_hash(text: &str) -> Option<Hash> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [high, low] => Some((high << 4) | low),
            _ => None,
        })
        .collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

/// The tokens file as it is now; a handle that sees every change.
#[derive(Clone)]
pub(super) struct Tokens {
    current: watch::Receiver<Arc<TokenSet>>,
}

/// What looks after the file.
pub(super) struct TokensWatch {
    file: PathBuf,
    /// The text last looked at, good or bad.
    seen: Result<String, String>,
    current: watch::Sender<Arc<TokenSet>>,
}

impl Tokens {
    /// Reads `file`, which must be good.
    pub(super) async fn load(file: &Path) -> Result<(Self, TokensWatch), TokensError> {
        let seen = read(file).await;
        let set = interpret(file, &seen)?;
        let (sender, current) = watch::channel(Arc::new(set));
        Ok((Self { current }, TokensWatch { file: file.to_path_buf(), seen, current: sender }))
    }

    /// The name of the sender whose token this is.
    pub(super) fn sender(&self, token: &[u8]) -> Option<Arc<str>> {
        self.current.borrow().sender(token)
    }
}

impl TokensWatch {
    /// Takes up changes of the file, every `poll`, for ever. A broken file changes nothing but the log.
    ///
    /// The text itself is compared: Kubernetes changes a mounted Secret by swapping links, with whatever times and
    /// lengths the new file has.
    pub(super) async fn run(mut self, poll: Duration, metrics: Arc<Metrics>) {
        loop {
            tokio::time::sleep(poll).await;
            self.look(&metrics).await;
        }
    }

    async fn look(&mut self, metrics: &Metrics) {
        let now = read(&self.file).await;
        if now == self.seen {
            return;
        }
        self.seen = now;
        match interpret(&self.file, &self.seen) {
            Ok(set) => {
                info!(file = %self.file.display(), tokens = set.senders.len(), "took up the changed tokens file");
                self.current.send_replace(Arc::new(set));
            }
            Err(reason) => {
                metrics.reload_failed("tokens");
                error!("{reason}; the tokens read before stay in force");
            }
        }
    }
}

async fn read(file: &Path) -> Result<String, String> {
    let length = tokio::fs::metadata(file).await.map_err(|error| error.to_string())?.len();
    if length > LONGEST_FILE_BYTES {
        return Err(format!("it is {length} bytes long, more than {LONGEST_FILE_BYTES}"));
    }
    tokio::fs::read_to_string(file).await.map_err(|error| error.to_string())
}

fn interpret(file: &Path, seen: &Result<String, String>) -> Result<TokenSet, TokensError> {
    let file = file.display().to_string();
    match seen {
        Ok(text) => TokenSet::parse(&file, text),
        Err(reason) => Err(TokensError::Read { file, reason: reason.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(token: &str) -> String {
        Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn knows_senders_by_their_tokens() {
        let text = format!(
            "# who may write\n\nprometheus-a {}\nprometheus-a\t{}  # the new one\n  other {}\r\n",
            hash("one"),
            hash("two").to_uppercase(),
            hash("three")
        );
        let tokens = TokenSet::parse("t", &text).unwrap();
        assert_eq!(tokens.sender(b"one").as_deref(), Some("prometheus-a"));
        assert_eq!(tokens.sender(b"two").as_deref(), Some("prometheus-a"));
        assert_eq!(tokens.sender(b"three").as_deref(), Some("other"));
        for wrong in ["", "four", "One", "one ", &hash("one")] {
            assert_eq!(tokens.sender(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_wrong_line_has_its_place_and_never_its_secret() {
        let (a, b, c) = (hash("a"), hash("b"), hash("c"));
        for (text, wants) in [
            (format!("x {a}\ny my-plain-secret\n"), "tokens:2: want \"NAME SHA256\""),
            (format!("x {a}\nmy-plain-secret\n"), "tokens:2: want"),
            (format!("x {}\n", &a[1..]), "tokens:1: want"),
            (format!("x {a}0\n"), "tokens:1: want"),
            (format!("x {a} my-plain-secret\n"), "tokens:1: want"),
            (format!("x {a}\ny {a}\n"), "tokens:2: the same hash as on line 1"),
            (format!("x {a}\nx {b}\nx {c}\n"), "tokens:3: a third token for sender \"x\""),
            ("# nobody\n".to_owned(), "tokens: holds no token"),
        ] {
            let error = TokenSet::parse("tokens", &text).unwrap_err().to_string();
            assert!(error.starts_with(wants), "{text}\n{error}");
            assert!(!error.contains("my-plain-secret") && !error.contains('\n'), "{error}");
        }
    }

    #[tokio::test]
    async fn a_broken_file_keeps_the_old_tokens() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tokens");
        assert!(matches!(Tokens::load(&file).await, Err(TokensError::Read { .. })));
        std::fs::write(&file, format!("a {}\n", hash("one"))).unwrap();
        let (tokens, mut watch) = Tokens::load(&file).await.unwrap();
        let metrics = Metrics::new();

        for broken in ["a nonsense\n", ""] {
            std::fs::write(&file, broken).unwrap();
            watch.look(&metrics).await;
            assert_eq!(tokens.sender(b"one").as_deref(), Some("a"));
        }
        std::fs::remove_file(&file).unwrap();
        watch.look(&metrics).await;
        watch.look(&metrics).await;
        assert_eq!(tokens.sender(b"one").as_deref(), Some("a"));
        assert!(metrics.encode_text().contains("promarchive_reload_failures_total{file=\"tokens\"} 3"));

        std::fs::write(&file, format!("b {}\n", hash("two"))).unwrap();
        watch.look(&metrics).await;
        assert_eq!(tokens.sender(b"one"), None);
        assert_eq!(tokens.sender(b"two").as_deref(), Some("b"));
    }

    #[tokio::test]
    async fn a_swapped_link_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("old"), format!("a {}\n", hash("one"))).unwrap();
        std::fs::write(at("new"), format!("a {}\n", hash("two"))).unwrap();
        std::os::unix::fs::symlink(at("old"), at("tokens")).unwrap();
        let (tokens, mut watch) = Tokens::load(&at("tokens")).await.unwrap();
        std::os::unix::fs::symlink(at("new"), at("next")).unwrap();
        std::fs::rename(at("next"), at("tokens")).unwrap();
        watch.look(&Metrics::new()).await;
        assert!(tokens.sender(b"two").is_some() && tokens.sender(b"one").is_none());
    }
}
