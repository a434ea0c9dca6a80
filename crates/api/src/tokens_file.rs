//! The tokens file: names, the SHA-256 hashes of their bearer tokens, and what these may be used for. Written and read here alone.
//!
//! One line a token: a name, white space, the hash as 64 hexadecimal digits, white space, and one or more roles with commas between
//! them: `write`, `push`, `read`, `runs`, `operate`. `#` starts a comment. A name may have two lines at a time, so that a token can
//! be changed without a gap: add the new one, change the sender, take the old one out.
//!
//! A line without roles has the role `write`, as in files of earlier versions. No role implies another one.

mod line;
mod role;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

pub use line::{LineFault, TokenHash, TokenLine};
pub use role::{Role, Roles, RolesError};

use crate::{KnownSender, UnknownTokens};

const TOKENS_PER_SENDER: usize = 2;

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
    /// A line by itself is wrong.
    #[error("{file}:{line}: {fault}")]
    Line {
        /// Path of the file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong, and what to write.
        fault: LineFault,
    },
    /// A token stands in the file already.
    #[error(
        "{file}:{line}: the hash is the same as on line {first}: every sender must have its own token, on one line"
    )]
    SameHash {
        /// Path of the file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// The line before.
        first: usize,
    },
    /// A name has more tokens than it may.
    #[error(
        "{file}:{line}: the name on lines {first} and {second} has a third token, but a name can have at most \
         {TOKENS_PER_SENDER}: remove the line of an old token"
    )]
    ThirdToken {
        /// Path of the file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// The first line with the name.
        first: usize,
        /// The second one.
        second: usize,
    },
    /// Nobody could write, and would be told so for good.
    #[error(
        "{file}: the file has no tokens, so every request would be refused: add a line \"NAME SHA256 write\" (get the \
         hash with printf %s \"$TOKEN\" | sha256sum), or let senders wait with --unknown-tokens retry"
    )]
    Empty {
        /// Path of the file.
        file: String,
    },
}

/// The lines that say something. A file that came with a byte order mark, as editors of Windows write it, is read without.
fn lines(text: &str) -> impl Iterator<Item = (usize, Result<TokenLine, LineFault>)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let numbered = text.lines().enumerate();
    numbered.filter_map(|(number, line)| TokenLine::parse(line).transpose().map(|line| (number + 1, line)))
}

/// What can be read of a file that somebody may have damaged: the lines that are in order.
pub fn good_lines(text: &str) -> impl Iterator<Item = TokenLine> {
    lines(text).filter_map(|(_, line)| line.ok())
}

/// The text of a file. `about` is said in a comment at its beginning.
pub fn write(about: &str, tokens: &[TokenLine]) -> String {
    // Writing to a string cannot fail.
    let mut text = String::new();
    about.lines().for_each(|line| _ = writeln!(text, "# {line}"));
    tokens.iter().for_each(|line| _ = writeln!(text, "{line}"));
    text
}

/// `text` without the lines of names that `is_refused` chooses; none if it has none of them. The rest stays as it is.
pub fn without(text: &str, is_refused: impl Fn(&str) -> bool) -> Option<String> {
    let is_its = |line: &&str| line::without_comment(line).split_whitespace().next().is_some_and(&is_refused);
    text.lines().any(|line| is_its(&line)).then(|| {
        let staying = text.lines().filter(|line| !is_its(line));
        staying.fold(String::with_capacity(text.len()), |text, line| text + line + "\n")
    })
}

/// Whose token it is, and what it may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Name in the file; empty without a file.
    pub name: Arc<str>,
    /// The first 8 hexadecimal digits of the token's hash; empty without a file.
    pub token: Arc<str>,
    /// What the token may be used for.
    pub roles: Roles,
}

impl Holder {
    /// Anybody, where no token is needed.
    pub fn anybody() -> Self {
        Self { name: Arc::default(), token: Arc::default(), roles: Roles::all() }
    }
}

impl From<&TokenLine> for Holder {
    fn from(line: &TokenLine) -> Self {
        Self { name: Arc::from(line.name()), token: Arc::from(line.hash().shown()), roles: line.roles() }
    }
}

/// The tokens of one version of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TokenSet {
    holders: HashMap<TokenHash, Holder>,
    /// How many lines say no roles.
    without_roles: usize,
}

impl TokenSet {
    /// Reads `text`; `file` is its name in errors. Without any token it is an error, but where unknown ones may try again.
    pub fn parse(file: &str, text: &str, unknown: UnknownTokens) -> Result<Self, TokensError> {
        let at = || file.to_owned();
        let mut lines_of: HashMap<TokenHash, usize> = HashMap::new();
        let mut tokens_of: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        let mut set = Self::default();
        for (line, read) in lines(text) {
            let token = read.map_err(|fault| TokensError::Line { file: at(), line, fault })?;
            if let Some(first) = lines_of.insert(token.hash(), line) {
                return Err(TokensError::SameHash { file: at(), line, first });
            }
            let holder = Holder::from(&token);
            let tokens = tokens_of.entry(Arc::clone(&holder.name)).or_default();
            if let [first, second] = *tokens.as_slice() {
                return Err(TokensError::ThirdToken { file: at(), line, first, second });
            }
            tokens.push(line);
            set.holders.insert(token.hash(), holder);
            set.without_roles += usize::from(!token.has_roles());
        }
        if set.holders.is_empty() && unknown == UnknownTokens::Refuse {
            return Err(TokensError::Empty { file: at() });
        }
        Ok(set)
    }

    /// Whose token this is.
    pub fn holder(&self, token: &[u8]) -> Option<&Holder> {
        // Not in constant time, and need not be: what is compared are hashes, and from how far two hashes agree nobody
        // can build a token that agrees further.
        self.holders.get(&TokenHash::of(token))
    }

    /// What to say of a file in which nobody may operate and some lines have no roles. In earlier versions every token of such a file
    /// could also operate.
    pub fn advice(&self) -> Option<String> {
        let operates = self.holders.values().any(|holder| holder.roles.contains(Role::Operate));
        let lines = self.without_roles;
        (lines > 0 && !operates).then(|| {
            format!(
                "no token has the role operate, and {lines} of {} tokens have no roles, so they have only the role \
                 write: no token allows POST /-/flush, GET /api/v1/deliveries or the metrics that name senders. To \
                 allow these requests, add a line to the file: NAME SHA256 operate. To remove this warning, add the \
                 role to each line without roles: NAME SHA256 write",
                self.len()
            )
        })
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
        for holder in self.holders.values().filter(|holder| holder.roles.contains(Role::Write)) {
            tokens_of.entry(&holder.name).or_default().push(holder.token.to_string());
        }
        let known = |(name, mut tokens): (&str, Vec<String>)| {
            tokens.sort_unstable();
            KnownSender { name: name.to_owned(), tokens }
        };
        tokens_of.into_iter().map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(token: &str) -> String {
        TokenHash::of(token).to_string()
    }

    fn name(tokens: &TokenSet, token: &[u8]) -> Option<String> {
        tokens.holder(token).map(|holder| holder.name.to_string())
    }

    fn parse(text: &str) -> TokenSet {
        TokenSet::parse("t", text, UnknownTokens::Refuse).unwrap()
    }

    #[test]
    fn knows_senders_by_their_tokens() {
        let text = format!(
            "\u{feff}# who may write\n\nprometheus-a {}\nprometheus-a\t{}  # the new one\n  other {}\r\n",
            hash("one"),
            hash("two").to_uppercase(),
            hash("three")
        );
        let tokens = parse(&text);
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
        let secret = "my-plain-secret";
        for (text, wants) in [
            (format!("x {a}\ny {secret}\n"), "tokens:2: the second word must be the SHA-256"),
            (format!("x {a}\n{secret}\n"), "tokens:2: expected \"NAME SHA256 ROLES\""),
            (format!("x {}\n", &a[1..]), "tokens:1: the second word must be"),
            (format!("x {a}0\n"), "tokens:1: the second word must be"),
            (
                format!("x {a} {secret}\n"),
                "tokens:1: unknown role; valid roles are write, push, read, runs and operate",
            ),
            (format!("x {a} Write\n"), "tokens:1: unknown role"),
            (format!("x {a} write,{secret}\n"), "tokens:1: unknown role"),
            (format!("x {a} write operate\n"), "tokens:1: expected"),
            (format!("x {a} operate {secret}\n"), "tokens:1: expected"),
            (format!("x {a} write,write\n"), "tokens:1: the role write is given twice"),
            (format!("{} {a}\n", secret.repeat(9)), "tokens:1: the name is too long: it must have at most 128 bytes"),
            (format!("{secret} {a}\n{secret} {a}\n"), "tokens:2: the hash is the same as on line 1"),
            (
                format!("{secret} {a}\n# x\n{secret} {b}\n{secret} {c}\n"),
                "tokens:4: the name on lines 1 and 3 has a third token",
            ),
            ("# nobody\n".to_owned(), "tokens: the file has no tokens"),
        ] {
            let error = TokenSet::parse("tokens", &text, UnknownTokens::Refuse).unwrap_err().to_string();
            assert!(error.starts_with(wants), "{text}\n{error}");
            assert!(!error.contains(secret) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_role_is_had_only_where_it_is_written() {
        let may = |tokens: &TokenSet, token: &str| {
            let roles = tokens.holder(token.as_bytes()).unwrap().roles;
            Role::ALL.into_iter().filter(|role| roles.contains(*role)).collect::<Vec<_>>()
        };
        let tokens = parse(&format!("a {}\nb {} write\n", hash("one"), hash("two")));
        assert_eq!((may(&tokens, "one"), may(&tokens, "two")), (vec![Role::Write], vec![Role::Write]));
        let tokens =
            parse(&format!("a {} operate\nb {} push,runs\nc {} write,read\n", hash("1"), hash("2"), hash("3")));
        assert_eq!(may(&tokens, "1"), [Role::Operate]);
        assert_eq!(may(&tokens, "2"), [Role::Push, Role::Runs]);
        assert_eq!(may(&tokens, "3"), [Role::Write, Role::Read]);
    }

    #[test]
    fn what_earlier_versions_took_for_every_role_is_told() {
        let (a, b) = (hash("a"), hash("b"));
        let advice = |text: String| TokenSet::parse("t", &text, UnknownTokens::Retry).unwrap().advice();
        let told = advice(format!("x {a}\ny {b} read\n")).unwrap();
        assert!(told.contains("1 of 2 tokens have no roles") && told.contains("NAME SHA256 operate"), "{told}");
        for quiet in
            ["", &format!("x {a} write"), &format!("x {a}\no {b} operate"), &format!("x {a}\no {b} operate,write")]
        {
            assert_eq!(advice((*quiet).to_owned()), None, "{quiet}");
        }
    }

    #[test]
    fn senders_are_told_by_name_and_the_beginnings_of_their_hashes() {
        let (b, c, d) = (hash("1"), hash("3"), hash("5"));
        let text = format!(
            "b {b}\na {}\nb {c} write\no {} operate\nr {} read\nw {d} operate,write\n",
            hash("2"),
            hash("4"),
            hash("6")
        );
        let known = |name: &str, tokens: &[&str]| {
            let mut tokens: Vec<String> = tokens.iter().map(|token| hash(token)[..8].to_owned()).collect();
            tokens.sort();
            KnownSender { name: name.to_owned(), tokens }
        };
        assert_eq!(parse(&text).senders(), [known("a", &["2"]), known("b", &["1", "3"]), known("w", &["5"])]);
    }

    #[test]
    fn what_is_written_is_read_and_damaged_lines_are_left_out() {
        let line = |name: &str, role: Role| TokenLine::new(name, TokenHash::of(name), role).unwrap();
        let lines = [line("operator", Role::Operate), line("Prometheus/n/x", Role::Write)];
        let text = write("who\nmay", &lines);
        assert_eq!(
            text,
            format!(
                "# who\n# may\noperator {} operate\nPrometheus/n/x {} write\n",
                hash("operator"),
                hash("Prometheus/n/x")
            )
        );
        assert_eq!(good_lines(&text).collect::<Vec<_>>(), lines);
        assert_eq!(good_lines(&text.replace("operate", "all")).collect::<Vec<_>>(), lines[1..]);
        assert_eq!(parse(&text).len(), 2);
    }

    #[test]
    fn lines_of_the_refused_go_and_nothing_else() {
        let file = format!("# x\noperator {0} operate\nPrometheus/a/x {0}\nPrometheus/b/x {0} write\n", hash("x"));
        let is_refused = |name: &str| name == "Prometheus/a/x";
        let without_it = without(&file, is_refused).unwrap();
        assert_eq!(without_it, file.replace(&format!("Prometheus/a/x {}\n", hash("x")), ""));
        assert_eq!(without(&without_it, is_refused), None);
    }
}
