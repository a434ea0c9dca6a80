//! Who may still be sending, though it has no right to any more, or another token. Pure.
//!
//! The tokens file is read back for it, and anybody who may change ConfigMaps can have written that. So a line of it makes no
//! token, and nothing is written elsewhere because of it: it keeps a hash in the file itself, and a token that is in the sender's
//! Secret already.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use promarchive_api::tokens_file::TokenLine;
use serde_json::Value;

use crate::archive::credentials::{SecretData, SenderToken, sender_lines};
use crate::archive::dereference::Found;
use crate::names::{ArchiveName, PrometheusName};
use crate::senders::delivery;

/// Longer than a Prometheus takes from reading a changed configuration to the end of the old queue.
const LAST_FLUSH: Duration = Duration::from_secs(90);

/// Lines of the present tokens file of senders that may still be delivering: all but those that may not, and those of which the
/// receiver says that nothing has come for long. While it says nothing, nobody is taken out.
pub(crate) fn carried(found: &Found<'_>) -> Vec<TokenLine> {
    let text = found.tokens.as_deref().and_then(|file| file.data.pointer("/data/tokens").and_then(Value::as_str));
    let silence = found.deliveries().map(delivery::silences);
    let is_over = |name: &str| silence.as_ref().is_some_and(|silence| silence(name) > LAST_FLUSH);
    let lines = sender_lines(text.unwrap_or_default());
    lines.filter(|line| !found.refused.contains(line.name()) && !is_over(line.name())).collect()
}

/// Senders that lines of a tokens file are of, as far as the lines tell.
pub(crate) fn leaving(carried: &[TokenLine]) -> BTreeSet<PrometheusName> {
    carried.iter().filter_map(|line| PrometheusName::parse_sender(line.name())).collect()
}

/// Tokens, as they are stored, of senders for which none is made: those with an entry that is to go, and those of `carried` whose
/// line is of the stored token. They keep them until nothing more comes.
pub(crate) fn kept(
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
    for line in carried {
        let Some(sender) = PrometheusName::parse_sender(line.name()) else { continue };
        if !entitled.contains(&sender)
            && let Some(token) = token(&sender)
            && (token.hash() == line.hash() || token.previous == Some(line.hash()))
        {
            kept.insert(sender, token);
        }
    }
    kept
}

/// Whether every pod of a sender has delivered with its present token.
pub(crate) fn is_retired(found: &Found<'_>, sender: &PrometheusName, token: &SenderToken) -> bool {
    let name = sender.sender();
    let (Some(delivered), Some(previous)) = (found.delivered(sender, &name), token.previous) else { return false };
    delivery::token_retired(&previous.shown(), &token.hash().shown(), &delivered).is_yes()
}
