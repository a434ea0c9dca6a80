//! Tokens: 32 random bytes in hexadecimal. The receiver holds only their hashes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use promarchive_api::tokens_file::{self, Role, TokenHash, TokenLine};

use super::SecretData;
use crate::names::{ArchiveName, PrometheusName};
use crate::process::{NoRandomness, random};

const TOKEN_BYTES: usize = 32;

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A token that nobody can guess.
pub(crate) fn new_token() -> Result<String, NoRandomness> {
    let mut bytes = [0; TOKEN_BYTES];
    random(&mut bytes)?;
    Ok(hexadecimal(&bytes))
}

fn is_token(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase();
    text.len() == TOKEN_BYTES * 2 && text.bytes().all(is_digit)
}

/// What a Secret holds for one sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderToken {
    /// What it shows.
    pub token: String,
    /// SHA-256 of the token before, while that is accepted too.
    pub previous: Option<TokenHash>,
    /// Which request for a new token this one answers.
    pub rotation: String,
}

impl SenderToken {
    /// What `data` holds under `key` (with the archive's prefix), if it is in order. Somebody may have written anything there.
    pub fn read(data: &SecretData, key: &str) -> Option<Self> {
        let text =
            |suffix: &str| data.get(&format!("{key}.{suffix}")).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let token = text("token").filter(|token| is_token(token))?;
        Some(Self {
            token: token.to_owned(),
            previous: text("previous").and_then(|hash| hash.parse().ok()),
            rotation: text("rotation").unwrap_or_default().to_owned(),
        })
    }

    /// The hash of the token.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.token)
    }

    /// Puts it into `data`.
    pub fn write(&self, data: &mut SecretData, key: &str) {
        data.insert(format!("{key}.token"), self.token.clone().into_bytes());
        if let Some(previous) = &self.previous {
            data.insert(format!("{key}.previous"), previous.to_string().into_bytes());
        }
        if !self.rotation.is_empty() {
            data.insert(format!("{key}.rotation"), self.rotation.clone().into_bytes());
        }
    }

    /// The token to use from now on: `found`, a new one if there is none or `rotation` asks for one. The token before
    /// stays accepted until `previous_retired`; while it is, no further one is made, because only two can be accepted.
    pub fn next(found: Option<Self>, rotation: &str, previous_retired: bool) -> Result<Self, NoRandomness> {
        let Some(mut found) = found else {
            return Ok(Self { token: new_token()?, previous: None, rotation: rotation.to_owned() });
        };
        if previous_retired {
            found.previous = None;
        }
        if found.rotation == rotation || found.previous.is_some() {
            return Ok(found);
        }
        let previous = Some(found.hash());
        Ok(Self { token: new_token()?, previous, rotation: rotation.to_owned() })
    }
}

const OPERATOR: &str = "operator";
/// What is longer is not read back. A ConfigMap holds no more.
const LONGEST_FILE_BYTES: usize = 1 << 20;
/// Lines of senders that are leaving, at most. More are forgotten: the senders are asked to come again, and do so in vain.
const MOST_CARRIED: usize = 1000;

/// The receiver's tokens file. `carried`: lines of senders that are leaving, from the file before.
///
/// Of two claims to one hash, that of a present token counts: only who has it can know it, while hashes are no secret. A hash that
/// two present tokens have names nobody.
pub(crate) fn tokens_file(
    archive: &ArchiveName,
    operator: &[&str],
    senders: &BTreeMap<String, SenderToken>,
    carried: &[TokenLine],
) -> String {
    let operator: Vec<TokenHash> = operator.iter().map(TokenHash::of).collect();
    let mut times: HashMap<TokenHash, usize> = HashMap::new();
    for hash in senders.values().map(SenderToken::hash).chain(operator.iter().copied()) {
        *times.entry(hash).or_default() += 1;
    }
    let is_of_one = |(_, hash): &(&str, TokenHash)| times.get(hash) == Some(&1);
    let present = senders.iter().map(|(name, token)| (name.as_str(), token.hash())).filter(is_of_one);
    let previous = senders.iter().filter_map(|(name, token)| Some((name.as_str(), token.previous?)));
    let leaving = carried.iter().filter(|line| !senders.contains_key(line.name())).take(MOST_CARRIED);
    let leaving = leaving.map(|line| (line.name(), line.hash()));
    let mut taken: BTreeSet<TokenHash> = times.keys().copied().collect();
    let writers = present.chain(previous.chain(leaving).filter(|(_, hash)| taken.insert(*hash)));
    let mut writers: Vec<TokenLine> =
        writers.filter_map(|(name, hash)| TokenLine::new(name, hash, Role::Write)).collect();
    writers.sort();
    let mut lines: Vec<TokenLine> =
        operator.into_iter().filter_map(|hash| TokenLine::new(OPERATOR, hash, Role::Operate)).collect();
    lines.append(&mut writers);
    let about =
        format!("Tokens and roles for the receiver of {archive}. Created by promarchive-operator from the Secrets.");
    tokens_file::write(&about, &lines)
}

/// The lines of senders in a tokens file, also in one of an earlier version, which has no roles. Somebody may have written anything
/// there: what is no line of a sender is left out.
pub(crate) fn sender_lines(file: &str) -> impl Iterator<Item = TokenLine> {
    let file = if file.len() <= LONGEST_FILE_BYTES { file } else { "" };
    let is_senders = |line: &TokenLine| PrometheusName::is_sender(line.name()) && line.roles() == Role::Write.into();
    tokens_file::good_lines(file).filter(is_senders)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> ArchiveName {
        ArchiveName::new("team", "lab")
    }

    #[test]
    fn tokens_are_read_back_and_never_repeat() {
        let token = SenderToken::next(None, "", false).unwrap();
        let mut data = SecretData::new();
        token.write(&mut data, "team.lab.k8s.p");
        assert_eq!(SenderToken::read(&data, "team.lab.k8s.p"), Some(token.clone()));
        assert_ne!(SenderToken::next(None, "", false).unwrap().token, token.token);
        assert_eq!(SenderToken::next(Some(token.clone()), "", false).unwrap(), token);
    }

    #[test]
    fn what_somebody_wrote_into_the_secret_is_no_token() {
        for wrong in ["", "short", &"g".repeat(64), &"A".repeat(64), "a b\nadmin"] {
            let data = SecretData::from([("k.token".to_owned(), wrong.as_bytes().to_vec())]);
            assert_eq!(SenderToken::read(&data, "k"), None, "{wrong}");
        }
    }

    #[test]
    fn a_rotation_accepts_both_until_the_old_one_is_retired() {
        let first = SenderToken::next(None, "", false).unwrap();
        let second = SenderToken::next(Some(first.clone()), "monday", false).unwrap();
        assert_ne!(second.token, first.token);
        assert_eq!(second.previous, Some(first.hash()));
        // A request that comes while two are accepted waits.
        assert_eq!(SenderToken::next(Some(second.clone()), "tuesday", false).unwrap(), second);
        let third = SenderToken::next(Some(second.clone()), "tuesday", true).unwrap();
        assert_eq!(third.previous, Some(second.hash()));
        assert_eq!(SenderToken::next(Some(third.clone()), "tuesday", true).unwrap().previous, None);
    }

    #[test]
    fn a_token_that_two_senders_have_names_nobody() {
        let one = SenderToken::next(None, "", false).unwrap();
        let operator = new_token().unwrap();
        let thief = SenderToken { token: operator.clone(), ..one.clone() };
        let senders = BTreeMap::from([("a".to_owned(), one.clone()), ("b".to_owned(), one), ("c".to_owned(), thief)]);
        let file = tokens_file(&archive(), &[&operator], &senders, &[]);
        assert_eq!(
            file.lines().skip(1).collect::<Vec<_>>(),
            [format!("operator {} operate", TokenHash::of(&operator))]
        );
    }

    fn sender(name: &str) -> String {
        format!("Prometheus/team/{name}")
    }

    fn line(name: &str, hash: TokenHash) -> TokenLine {
        TokenLine::new(&sender(name), hash, Role::Write).unwrap()
    }

    #[test]
    fn a_previous_hash_takes_nobodys_token_and_leaving_senders_are_carried_on() {
        let victim = SenderToken::next(None, "", false).unwrap();
        let own = SenderToken::next(None, "", false).unwrap();
        let thief = SenderToken { previous: Some(victim.hash()), ..own.clone() };
        let senders = BTreeMap::from([(sender("a"), victim.clone()), (sender("b"), thief)]);
        let gone = line("gone", TokenHash::of("x"));
        let stolen = line("c", own.hash());
        let file = tokens_file(&archive(), &[&new_token().unwrap()], &senders, &[gone.clone(), stolen]);
        let expected = [line("a", victim.hash()), line("b", own.hash()), gone];
        assert_eq!(sender_lines(&file).collect::<Vec<_>>(), expected);
        let roles: Vec<Option<&str>> = file.lines().skip(1).map(|line| line.split(' ').nth(2)).collect();
        assert_eq!(roles, [Some("operate"), Some("write"), Some("write"), Some("write")]);
    }

    #[test]
    fn only_lines_of_senders_are_read_back() {
        let hash = TokenHash::of("x").to_string();
        let good = format!("Prometheus/n/x {hash}");
        for wrong in [
            String::new(),
            format!("# {hash}"),
            format!("operator {hash} operate"),
            format!("Prometheus/n/x {hash} operate"),
            format!("Prometheus/n/x {hash} write,operate"),
            format!("Prometheus/n/x {hash} write read"),
            format!("Prometheus/n/x {}", &hash[1..]),
            format!("Prometheus/../x {hash}"),
            format!("Prometheus/{}/x {hash}", "n".repeat(1 << 16)),
            format!("Secret/n/x {hash}"),
            format!("{hash} Prometheus/n/x"),
        ] {
            assert_eq!(sender_lines(&wrong).next(), None, "{wrong:.99}");
            // With its role, and as earlier versions wrote it.
            let file = format!("{wrong}\n{good}\n{good} write\n");
            assert_eq!(sender_lines(&file).count(), 2, "{wrong:.99}");
        }
        assert_eq!(sender_lines(&format!("{good}\n").repeat(20_000)).count(), 0, "more than a ConfigMap holds");
    }

    #[test]
    fn a_file_of_an_earlier_version_gets_roles_and_no_other_senders() {
        let (leaving, operator) = (TokenHash::of("x"), new_token().unwrap());
        let staying = SenderToken::next(None, "", false).unwrap();
        let (there, gone) = (sender("there"), sender("gone"));
        let before = format!(
            "# Who may write to the archive team/lab. Made by promarchive-operator from the Secrets.\n\
             operator {} operate\n{gone} {leaving}\n{there} {}\n",
            TokenHash::of(&operator),
            staying.hash()
        );
        let carried: Vec<TokenLine> = sender_lines(&before).collect();
        let file = tokens_file(&archive(), &[&operator], &BTreeMap::from([(there, staying)]), &carried);
        let lines = |text: &str| text.lines().skip(1).map(ToOwned::to_owned).collect::<Vec<String>>();
        let [operates, senders @ ..] = &lines(&before)[..] else { panic!("{before}") };
        let senders = senders.iter().map(|line| format!("{line} write"));
        assert_eq!(lines(&file), std::iter::once(operates.clone()).chain(senders).collect::<Vec<_>>());
    }

    #[test]
    fn no_more_leaving_senders_are_carried_than_there_can_be() {
        let carried: Vec<TokenLine> =
            (0..8_500).map(|n| line(&format!("p{n}"), TokenHash::of(n.to_string()))).collect();
        let file = tokens_file(&archive(), &[&new_token().unwrap()], &BTreeMap::new(), &carried);
        assert_eq!(sender_lines(&file).count(), MOST_CARRIED);
    }
}
