//! One line of the tokens file, and the hash in it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::role::{Role, Roles, RolesError};

const LONGEST_NAME_BYTES: usize = 128;
/// Bytes of a hash by which people tell a token from others.
const SHOWN_BYTES: usize = 4;

/// SHA-256 of a token. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of `token`.
    pub fn of(token: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(token.as_ref()).into())
    }

    /// The first 8 digits, by which a token is told from others in answers and marks.
    pub fn shown(&self) -> String {
        self.0.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for TokenHash {
    type Err = LineFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = |pair: &[u8]| match pair {
            [high, low] => Some((digit(high)? << 4) | digit(low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = match text.len() {
            64 => text.as_bytes().chunks(2).map(byte).collect(),
            _ => None,
        };
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(LineFault::Hash)
    }
}

/// What is wrong with a line, and what to write. Never holds anything of the line, which might be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// A name alone, or more than three words.
    #[error(
        "expected \"NAME SHA256 ROLES\", where SHA256 is the hash of the token in 64 hexadecimal digits (get it with \
         printf %s \"$TOKEN\" | sha256sum), and ROLES are one or more of write, push, read, runs and operate, \
         separated by commas without spaces"
    )]
    Words,
    /// The second word is no hash.
    #[error(
        "the second word must be the SHA-256 of the token in 64 hexadecimal digits (get it with printf %s \"$TOKEN\" \
         | sha256sum)"
    )]
    Hash,
    /// The third word is no list of roles.
    #[error(transparent)]
    Roles(#[from] RolesError),
    /// The name is too long.
    #[error("the name is too long: it must have at most {LONGEST_NAME_BYTES} bytes")]
    LongName,
}

/// One token: whose it is, its hash, and what it may be used for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenLine {
    name: String,
    hash: TokenHash,
    roles: Option<Roles>,
}

impl TokenLine {
    /// A line with roles; none if `name` cannot be the name of a sender: it is empty, too long, or has white space or a `#`.
    pub fn new(name: &str, hash: TokenHash, roles: impl Into<Roles>) -> Option<Self> {
        let is_word = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '#');
        let line = Self { name: name.to_owned(), hash, roles: Some(roles.into()) };
        (is_word && name.len() <= LONGEST_NAME_BYTES).then_some(line)
    }

    /// Reads one line; none if it is blank or a comment.
    pub fn parse(line: &str) -> Result<Option<Self>, LineFault> {
        let mut words = without_comment(line).split_whitespace();
        let Some(name) = words.next() else { return Ok(None) };
        let (hash, roles) = (words.next().ok_or(LineFault::Words)?.parse()?, words.next());
        if words.next().is_some() {
            return Err(LineFault::Words);
        }
        if name.len() > LONGEST_NAME_BYTES {
            return Err(LineFault::LongName);
        }
        Ok(Some(Self { name: name.to_owned(), hash, roles: roles.map(str::parse).transpose()? }))
    }

    /// Whose token it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The token's hash.
    pub fn hash(&self) -> TokenHash {
        self.hash
    }

    /// What it may be used for: `write` alone, if the line does not say.
    pub fn roles(&self) -> Roles {
        self.roles.unwrap_or(Role::Write.into())
    }

    /// Whether the line says what the token may be used for.
    pub fn has_roles(&self) -> bool {
        self.roles.is_some()
    }
}

impl fmt::Display for TokenLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.hash)?;
        self.roles.map_or(Ok(()), |roles| write!(f, " {roles}"))
    }
}

/// What stands before a comment.
pub(super) fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_again_from_what_is_written() {
        let hash = TokenHash::of("one");
        let both = Roles::from(Role::Write).with(Role::Operate);
        for (text, roles, written) in [
            (format!("a {hash}"), Role::Write.into(), format!("a {hash}")),
            (format!(" a\t{}  # new\r", hash.to_string().to_uppercase()), Role::Write.into(), format!("a {hash}")),
            (format!("a {hash} operate#x"), Role::Operate.into(), format!("a {hash} operate")),
            (format!("a {hash} operate,write"), both, format!("a {hash} write,operate")),
        ] {
            let line = TokenLine::parse(&text).unwrap().unwrap();
            assert_eq!((line.name(), line.hash(), line.roles(), line.to_string()), ("a", hash, roles, written));
            assert_eq!(TokenLine::parse(&line.to_string()), Ok(Some(line)));
        }
        for nothing in ["", "  ", "# a b c d", "\t#"] {
            assert_eq!(TokenLine::parse(nothing), Ok(None), "{nothing}");
        }
    }

    #[test]
    fn a_line_is_made_only_with_a_name_that_can_be_read() {
        let hash = TokenHash::of("one");
        let longest = "n".repeat(LONGEST_NAME_BYTES);
        for name in ["Prometheus/monitoring/k8s", &longest] {
            let line = TokenLine::new(name, hash, Role::Push).unwrap();
            assert_eq!(TokenLine::parse(&line.to_string()), Ok(Some(line)));
        }
        for name in ["", "a b", "a\nb", "a\u{a0}b", "#a", "a#b", &format!("{longest}n")] {
            assert_eq!(TokenLine::new(name, hash, Role::Push), None, "{name}");
        }
    }

    #[test]
    fn a_hash_has_sixty_four_digits() {
        let good = TokenHash::of("one").to_string();
        assert_eq!((good.parse(), good.len()), (Ok(TokenHash::of("one")), 64));
        assert_eq!(TokenHash::of("one").shown(), good[..8]);
        for wrong in [&good[1..], &format!("{good}0"), &good.replacen('7', "g", 1), &"é".repeat(32), ""] {
            assert_eq!(wrong.parse::<TokenHash>(), Err(LineFault::Hash), "{wrong}");
        }
    }
}
