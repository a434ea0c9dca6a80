//! Tokens: 32 random bytes in hexadecimal. The receiver holds only their hashes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

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
pub fn new_token() -> Result<String, NoRandomness> {
    let mut bytes = [0; TOKEN_BYTES];
    random(&mut bytes)?;
    Ok(hexadecimal(&bytes))
}

/// SHA-256 of a token, as the receiver's tokens file has it.
pub fn token_hash(token: &str) -> String {
    hexadecimal(&Sha256::digest(token.as_bytes()))
}

fn is_hexadecimal(text: &str, bytes: usize) -> bool {
    text.len() == bytes * 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
}

/// What a Secret holds for one sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderToken {
    /// What it shows.
    pub token: String,
    /// SHA-256 of the token before, while that is accepted too.
    pub previous: Option<String>,
    /// Which request for a new token this one answers.
    pub rotation: String,
}

impl SenderToken {
    /// What `data` holds under `key` (with the archive's prefix), if it is in order. Somebody may have written anything there.
    pub fn read(data: &SecretData, key: &str) -> Option<Self> {
        let text =
            |suffix: &str| data.get(&format!("{key}.{suffix}")).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let token = text("token").filter(|token| is_hexadecimal(token, TOKEN_BYTES))?;
        let previous = text("previous").filter(|hash| is_hexadecimal(hash, 32));
        Some(Self {
            token: token.to_owned(),
            previous: previous.map(ToOwned::to_owned),
            rotation: text("rotation").unwrap_or_default().to_owned(),
        })
    }

    /// Puts it into `data`.
    pub fn write(&self, data: &mut SecretData, key: &str) {
        data.insert(format!("{key}.token"), self.token.clone().into_bytes());
        if let Some(previous) = &self.previous {
            data.insert(format!("{key}.previous"), previous.clone().into_bytes());
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
        let previous = Some(token_hash(&found.token));
        Ok(Self { token: new_token()?, previous, rotation: rotation.to_owned() })
    }
}

/// A line of the tokens file: who, and the hash of a token.
pub type TokenLine = (String, String);

const OPERATOR: &str = "operator";
/// What is longer is not read back. A ConfigMap holds no more.
const LONGEST_FILE_BYTES: usize = 1 << 20;
/// Lines of senders that are leaving, at most. More are forgotten: the senders are asked to come again, and do so in vain.
const MOST_CARRIED: usize = 1000;

/// The receiver's tokens file. `carried`: lines of senders that are leaving, from the file before.
///
/// Of two claims to one hash, that of a present token counts: only who has it can know it, while hashes are no secret. A hash that
/// two present tokens have names nobody.
pub fn tokens_file(
    archive: &ArchiveName,
    operator: &[&str],
    senders: &BTreeMap<String, SenderToken>,
    carried: &[TokenLine],
) -> String {
    let operator: Vec<String> = operator.iter().map(|token| token_hash(token)).collect();
    let present: Vec<TokenLine> =
        senders.iter().map(|(name, token)| (name.clone(), token_hash(&token.token))).collect();
    let mut times: HashMap<&str, usize> = HashMap::new();
    for hash in present.iter().map(|(_, hash)| hash).chain(&operator) {
        *times.entry(hash).or_default() += 1;
    }
    let previous = senders.iter().filter_map(|(name, token)| Some((name.clone(), token.previous.clone()?)));
    let leaving = carried.iter().filter(|(name, _)| !senders.contains_key(name)).take(MOST_CARRIED).cloned();
    let mut lines: Vec<TokenLine> =
        present.iter().filter(|(_, hash)| times.get(hash.as_str()) == Some(&1)).cloned().collect();
    let mut taken: BTreeSet<String> = present.iter().map(|(_, hash)| hash).chain(&operator).cloned().collect();
    lines.extend(previous.chain(leaving).filter(|(_, hash)| taken.insert(hash.clone())));
    lines.sort();
    let mut file =
        format!("# Who may write to the archive {archive}. Made by promarchive-operator from the Secrets.\n");
    // Writing to a string cannot fail.
    for hash in operator {
        let _ = writeln!(file, "{OPERATOR} {hash} operate");
    }
    for (name, hash) in lines {
        let _ = writeln!(file, "{name} {hash}");
    }
    file
}

/// The lines of senders in a tokens file. Somebody may have written anything there: what is no line of ours is left out.
pub fn token_lines(file: &str) -> impl Iterator<Item = (&str, &str)> {
    let file = if file.len() <= LONGEST_FILE_BYTES { file } else { "" };
    file.lines().filter_map(|line| {
        let (name, hash) = line.split_once(' ')?;
        (PrometheusName::is_sender(name) && is_hexadecimal(hash, 32)).then_some((name, hash))
    })
}

/// A tokens file without the lines of senders that `is_refused` names; `None` if it has none of them.
pub fn without_senders(file: &str, is_refused: impl Fn(&str) -> bool) -> Option<String> {
    let is_its = |line: &&str| line.split_whitespace().next().is_some_and(&is_refused);
    file.lines().any(|line| is_its(&line)).then(|| {
        let staying = file.lines().filter(|line| !is_its(line));
        staying.fold(String::with_capacity(file.len()), |text, line| text + line + "\n")
    })
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
        assert_eq!(second.previous, Some(token_hash(&first.token)));
        // A request that comes while two are accepted waits.
        assert_eq!(SenderToken::next(Some(second.clone()), "tuesday", false).unwrap(), second);
        let third = SenderToken::next(Some(second.clone()), "tuesday", true).unwrap();
        assert_eq!(third.previous, Some(token_hash(&second.token)));
        assert_eq!(SenderToken::next(Some(third.clone()), "tuesday", true).unwrap().previous, None);
    }

    #[test]
    fn a_token_that_two_senders_have_names_nobody() {
        let one = SenderToken::next(None, "", false).unwrap();
        let operator = new_token().unwrap();
        let thief = SenderToken { token: operator.clone(), ..one.clone() };
        let senders = BTreeMap::from([("a".to_owned(), one.clone()), ("b".to_owned(), one), ("c".to_owned(), thief)]);
        let file = tokens_file(&archive(), &[&operator], &senders, &[]);
        assert_eq!(file.lines().skip(1).collect::<Vec<_>>(), [format!("operator {} operate", token_hash(&operator))]);
    }

    fn sender(name: &str) -> String {
        format!("Prometheus/team/{name}")
    }

    #[test]
    fn a_previous_hash_takes_nobodys_token_and_leaving_senders_are_carried_on() {
        let victim = SenderToken::next(None, "", false).unwrap();
        let own = SenderToken::next(None, "", false).unwrap();
        let thief = SenderToken { previous: Some(token_hash(&victim.token)), ..own.clone() };
        let senders = BTreeMap::from([(sender("a"), victim.clone()), (sender("b"), thief)]);
        let gone = (sender("gone"), token_hash("x"));
        let stolen = (sender("c"), token_hash(&own.token));
        let file = tokens_file(&archive(), &[&new_token().unwrap()], &senders, &[gone.clone(), stolen]);
        let expected = [(sender("a"), token_hash(&victim.token)), (sender("b"), token_hash(&own.token)), gone];
        let lines: Vec<TokenLine> = token_lines(&file).map(|(name, hash)| (name.to_owned(), hash.to_owned())).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn only_lines_of_ours_are_read_back() {
        let hash = token_hash("x");
        let good = format!("Prometheus/n/x {hash}");
        for wrong in [
            String::new(),
            format!("# {hash}"),
            format!("operator {hash} operate"),
            format!("Prometheus/n/x {hash} operate"),
            format!("Prometheus/n/x  {hash}"),
            format!("Prometheus/n/x\t{hash}"),
            format!("Prometheus/n/x {}", &hash[1..]),
            format!("Prometheus/n/x {}", hash.to_uppercase()),
            format!("Prometheus/../x {hash}"),
            format!("Prometheus/{}/x {hash}", "n".repeat(1 << 16)),
            format!("Secret/n/x {hash}"),
            format!("{hash} Prometheus/n/x"),
        ] {
            assert_eq!(token_lines(&wrong).next(), None, "{wrong:.99}");
            assert_eq!(token_lines(&format!("{wrong}\n{good}\n")).count(), 1, "{wrong:.99}");
        }
        assert_eq!(token_lines(&format!("{good}\n").repeat(20_000)).count(), 0, "more than a ConfigMap holds");
    }

    #[test]
    fn no_more_leaving_senders_are_carried_than_there_can_be() {
        let carried: Vec<TokenLine> =
            (0..8_500).map(|n| (sender(&format!("p{n}")), token_hash(&n.to_string()))).collect();
        let file = tokens_file(&archive(), &[&new_token().unwrap()], &BTreeMap::new(), &carried);
        assert_eq!(token_lines(&file).count(), MOST_CARRIED);
    }

    #[test]
    fn lines_of_the_refused_go_and_nothing_else() {
        let file = format!("# x\noperator {0} operate\nPrometheus/a/x {0}\nPrometheus/b/x {0}\n", token_hash("x"));
        let without = without_senders(&file, |name| name == "Prometheus/a/x").unwrap();
        assert_eq!(without, file.replace(&format!("Prometheus/a/x {}\n", token_hash("x")), ""));
        assert_eq!(without_senders(&without, |name| name == "Prometheus/a/x"), None);
    }
}
