//! Who may do what: names, the SHA-256 hashes of their bearer tokens and their roles, out of the text of a file.
//!
//! One line a token: a name, white space, the hash as 64 hexadecimal digits, and perhaps white space and a role, `write`
//! (the default) or `operate`. `#` starts a comment. A name may have two lines at a time, so that a token can be changed
//! without a gap: add the new one, change the sender, take the old one out.
//!
//! `write` may post remote write and nothing else, `operate` may do everything else: on a receiver that tenants share, none
//! of them can force flushes or see the others. In a file without any `operate` every token may do both.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::{KnownSender, UnknownTokens};

const TOKENS_PER_SENDER: usize = 2;
const LONGEST_NAME_BYTES: usize = 128;
/// Bytes of a hash by which a token is told from others where people see it.
const SHOWN_BYTES: usize = 4;

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
    /// Nobody could write, and would be told so for good.
    #[error(
        "{file}: holds no token, every request would be refused: add a line \"NAME SHA256\", for example from \
             printf %s \"$TOKEN\" | sha256sum, or let senders wait with --unknown-tokens retry"
    )]
    Empty {
        /// Path of the file.
        file: String,
    },
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Remote write.
    Write,
    /// Flushes, and who delivers what.
    Operate,
}

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Name in the file; empty without a file.
    pub name: Arc<str>,
    /// The first 8 hexadecimal digits of the token's hash; empty without a file.
    pub token: Arc<str>,
    role: Role,
}

impl Holder {
    /// Anybody, where no token is needed.
    pub fn anybody() -> Self {
        Self { name: Arc::default(), token: Arc::default(), role: Role::Write }
    }
}

/// The tokens of one version of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TokenSet {
    holders: HashMap<Hash, Holder>,
    /// Whether a line has the role `operate`: then the others are for writing only.
    has_operators: bool,
}

impl TokenSet {
    /// Reads `text`; `file` is its name in errors. Without any token it is an error, but where unknown ones may try again.
    pub fn parse(file: &str, text: &str, unknown: UnknownTokens) -> Result<Self, TokensError> {
        let mut lines_of: HashMap<Hash, usize> = HashMap::new();
        let mut tokens_of: HashMap<&str, usize> = HashMap::new();
        let mut holders: HashMap<Hash, Holder> = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let refused = |fault: String| TokensError::Line { file: file.to_owned(), line: number + 1, fault };
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(name) = words.next() else { continue };
            let hash = words.next().ok_or_else(|| refused(SHAPE.to_owned()))?;
            let role = match words.next() {
                None | Some("write") => Role::Write,
                Some("operate") => Role::Operate,
                Some(_) => return Err(refused(SHAPE.to_owned())),
            };
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
            holders.insert(hash, Holder { name: Arc::from(name), token: Arc::from(shown(&hash)), role });
        }
        if holders.is_empty() && unknown == UnknownTokens::Refuse {
            return Err(TokensError::Empty { file: file.to_owned() });
        }
        let has_operators = holders.values().any(|holder| holder.role == Role::Operate);
        Ok(Self { holders, has_operators })
    }

    /// Whose token this is.
    pub fn holder(&self, token: &[u8]) -> Option<&Holder> {
        // Not in constant time, and need not be: what is compared are hashes, and from how far two hashes agree nobody
        // can build a token that agrees further.
        self.holders.get(&Hash::from(Sha256::digest(token)))
    }

    /// Whether one who has a token may do what this role is for.
    pub fn allows(&self, holder: &Holder, role: Role) -> bool {
        holder.role == role || !self.has_operators
    }

    /// Whether nobody has a token.
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// Those who may write, by name.
    pub fn senders(&self) -> Vec<KnownSender> {
        let mut tokens_of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for holder in self.holders.values().filter(|holder| holder.role == Role::Write) {
            tokens_of.entry(&holder.name).or_default().push(holder.token.to_string());
        }
        let known = |(name, mut tokens): (&str, Vec<String>)| {
            tokens.sort_unstable();
            KnownSender { name: name.to_owned(), tokens }
        };
        tokens_of.into_iter().map(known).collect()
    }
}

fn shown(hash: &Hash) -> String {
    hash.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

const SHAPE: &str = "want \"NAME SHA256\" or \"NAME SHA256 ROLE\", where SHA256 is the hash of the token in 64 hexadecimal digits, \
                     for example from printf %s \"$TOKEN\" | sha256sum, and ROLE is write or operate";

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

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(token: &str) -> String {
        Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn name(tokens: &TokenSet, token: &[u8]) -> Option<String> {
        tokens.holder(token).map(|holder| holder.name.to_string())
    }

    #[test]
    fn knows_senders_by_their_tokens() {
        let text = format!(
            "# who may write\n\nprometheus-a {}\nprometheus-a\t{}  # the new one\n  other {}\r\n",
            hash("one"),
            hash("two").to_uppercase(),
            hash("three")
        );
        let tokens = TokenSet::parse("t", &text, UnknownTokens::Refuse).unwrap();
        assert_eq!(name(&tokens, b"one").as_deref(), Some("prometheus-a"));
        assert_eq!(name(&tokens, b"two").as_deref(), Some("prometheus-a"));
        assert_eq!(name(&tokens, b"three").as_deref(), Some("other"));
        for wrong in ["", "four", "One", "one ", &hash("one")] {
            assert_eq!(name(&tokens, wrong.as_bytes()), None, "{wrong}");
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
            (format!("x {a} Write\n"), "tokens:1: want"),
            (format!("x {a} operate my-plain-secret\n"), "tokens:1: want"),
            (format!("x {a}\ny {a}\n"), "tokens:2: the same hash as on line 1"),
            (format!("x {a}\nx {b}\nx {c}\n"), "tokens:3: a third token for sender \"x\""),
            ("# nobody\n".to_owned(), "tokens: holds no token"),
        ] {
            let error = TokenSet::parse("tokens", &text, UnknownTokens::Refuse).unwrap_err().to_string();
            assert!(error.starts_with(wants), "{text}\n{error}");
            assert!(!error.contains("my-plain-secret") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn roles_bind_once_somebody_operates() {
        let (one, two, three) = (hash("one"), hash("two"), hash("three"));
        let parse = |text: &str| TokenSet::parse("t", text, UnknownTokens::Refuse).unwrap();
        let may = |tokens: &TokenSet, token: &str| {
            let holder = tokens.holder(token.as_bytes()).unwrap();
            [Role::Write, Role::Operate].map(|role| tokens.allows(holder, role))
        };
        let plain = parse(&format!("a {one}\nb {two} write\n"));
        assert_eq!((may(&plain, "one"), may(&plain, "two")), ([true, true], [true, true]));
        let operated = parse(&format!("a {one}\nb {two} write\noperator {three} operate\n"));
        assert_eq!((may(&operated, "one"), may(&operated, "two")), ([true, false], [true, false]));
        assert_eq!(may(&operated, "three"), [false, true]);
    }

    #[test]
    fn senders_are_told_by_name_and_the_beginnings_of_their_hashes() {
        let text = format!("b {}\na {}\nb {} write\no {} operate\n", hash("1"), hash("2"), hash("3"), hash("4"));
        let senders = TokenSet::parse("t", &text, UnknownTokens::Refuse).unwrap().senders();
        let known = |name: &str, tokens: &[&str]| {
            let mut tokens: Vec<String> = tokens.iter().map(|token| hash(token)[..8].to_owned()).collect();
            tokens.sort();
            KnownSender { name: name.to_owned(), tokens }
        };
        assert_eq!(senders, [known("a", &["2"]), known("b", &["1", "3"])]);
    }
}
