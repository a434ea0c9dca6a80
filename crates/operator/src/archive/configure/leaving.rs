//! Who may still be sending, though it has no right to any more, or another token. Pure.
//!
//! The tokens file is read back for it, and anybody who may change ConfigMaps can have written that. So a line of it makes no
//! token, and nothing is written elsewhere because of it: it keeps a hash in the file itself, and a token that is in the sender's
//! Secret already.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::archive::credentials::{SecretData, SenderToken, TokenLine, token_hash, token_lines};
use crate::archive::dereference::Found;
use crate::names::{ArchiveName, PrometheusName};
use crate::senders::delivery;

/// Longer than a Prometheus takes from reading a changed configuration to the end of the old queue.
const LAST_FLUSH: Duration = Duration::from_secs(90);

/// Lines of the present tokens file of senders that may still be delivering: all but those that may not, and those of which the
/// receiver says that nothing has come for long. While it says nothing, nobody is taken out.
pub fn carried(found: &Found<'_>) -> Vec<TokenLine> {
    let text = found.tokens.as_deref().and_then(|file| file.data.pointer("/data/tokens").and_then(Value::as_str));
    let silence = found.deliveries().map(delivery::silences);
    let is_over = |name: &str| silence.as_ref().is_some_and(|silence| silence(name) > LAST_FLUSH);
    let lines = token_lines(text.unwrap_or_default());
    let lines = lines.filter(|(name, _)| !found.refused.contains(*name) && !is_over(name));
    lines.map(|(name, hash)| (name.to_owned(), hash.to_owned())).collect()
}

/// Senders that lines of a tokens file are of, as far as the lines tell.
pub fn leaving(carried: &[TokenLine]) -> BTreeSet<PrometheusName> {
    carried.iter().filter_map(|(name, _)| PrometheusName::parse_sender(name)).collect()
}

/// Tokens, as they are stored, of senders for which none is made: those with an entry that is to go, and those of `carried` whose
/// line is of the stored token. They keep them until nothing more comes.
pub fn kept(
    archive: &ArchiveName,
    found: &Found<'_>,
    entitled: &BTreeSet<PrometheusName>,
    carried: &[TokenLine],
    stored: &BTreeMap<String, SecretData>,
) -> BTreeMap<PrometheusName, SenderToken> {
    let token =
        |sender: &PrometheusName| SenderToken::read(stored.get(&sender.namespace)?, &sender.secret_key(archive));
    let mut kept = BTreeMap::new();
    for sender in found.senders.iter().map(|sender| sender.prometheus.full_name()) {
        if !entitled.contains(&sender)
            && let Some(token) = token(&sender)
        {
            kept.insert(sender, token);
        }
    }
    for (name, hash) in carried {
        let Some(sender) = PrometheusName::parse_sender(name) else { continue };
        if !entitled.contains(&sender)
            && let Some(token) = token(&sender)
            && (token_hash(&token.token) == *hash || token.previous.as_ref() == Some(hash))
        {
            kept.insert(sender, token);
        }
    }
    kept
}

/// Whether every pod of a sender has delivered with its present token.
pub fn is_retired(found: &Found<'_>, sender: &PrometheusName, token: &SenderToken) -> bool {
    let name = sender.sender();
    let (Some(delivered), Some(previous)) = (found.delivered(sender, &name), &token.previous) else { return false };
    let present = token_hash(&token.token);
    // Marks have the first 8 digits.
    let (old, new) = (previous.get(..8).unwrap_or_default(), present.get(..8).unwrap_or_default());
    delivery::token_retired(old, new, &delivered).is_yes()
}
