//! Who may still be sending, though it has no right to any more, or another token. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::name_of;
use crate::credentials::{SenderToken, TokenLine, token_hash, token_lines};
use crate::delivery;
use crate::dereference::Found;
use crate::entry::PrometheusName;

/// Longer than a Prometheus takes from reading a changed configuration to the end of the old queue.
const LAST_FLUSH: Duration = Duration::from_secs(90);

/// Senders without a right to send whose last samples may still be on their way: they keep their tokens until then.
pub fn still_delivering(found: &Found<'_>, entitled: &BTreeSet<PrometheusName>) -> BTreeSet<PrometheusName> {
    let with_entry = found.senders.iter().filter(|sender| sender.consents).map(name_of);
    let known = carried(found);
    let leaving = known.iter().filter_map(|(name, _)| PrometheusName::parse_sender(name));
    with_entry.chain(leaving).filter(|name| !entitled.contains(name)).collect()
}

/// Lines of the present tokens file of senders that may still be delivering: all but those that may not, and those of which the
/// receiver says that nothing has come for long. While it says nothing, nobody is taken out.
pub fn carried(found: &Found<'_>) -> Vec<TokenLine> {
    let text = found.config.as_deref().and_then(|file| file.data.pointer("/data/tokens")?.as_str()).unwrap_or_default();
    let is_refused =
        |name: &str| found.senders.iter().any(|sender| !sender.consents && name_of(sender).sender() == name);
    let is_over = |name: &str| {
        found.deliveries().is_some_and(|deliveries| delivery::silence(deliveries, |sender| sender == name) > LAST_FLUSH)
    };
    token_lines(text).into_iter().filter(|(name, _)| !is_refused(name) && !is_over(name)).collect()
}

/// Whether every pod of a sender has delivered with its present token.
pub fn is_retired(found: &Found<'_>, sender: &PrometheusName, token: &SenderToken) -> bool {
    let name = sender.sender();
    let (Some(delivered), Some(previous)) = (found.delivered(sender, &name), &token.previous) else { return false };
    let present = token_hash(&token.token);
    // Marks have the first 8 digits.
    let (old, new) = (previous.get(..8).unwrap_or_default(), present.get(..8).unwrap_or_default());
    delivery::token_retired(old, new, delivered).is_yes()
}
