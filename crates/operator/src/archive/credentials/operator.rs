//! What the operator itself shows to a receiver, and how that is changed.
//!
//! A receiver takes up a changed tokens file up to a minute and a half later. So a new token is kept beside the present one at first:
//! the receiver accepts both, and the operator shows the new one as soon as the receiver has answered to it.

use super::{SecretData, SenderToken, new_token};
use crate::names::ArchiveName;
use crate::process::NoRandomness;

/// What the Secret of an archive's own namespace holds for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OperatorToken {
    /// What it shows.
    pub token: String,
    /// What it shows next, when the receiver has answered to it.
    pub next: Option<String>,
    /// Which request for a new token the newest one answers.
    rotation: String,
}

impl OperatorToken {
    /// What `data` holds, if it is in order.
    pub(crate) fn read(archive: &ArchiveName, data: &SecretData) -> Option<Self> {
        let SenderToken { token, rotation, .. } = SenderToken::read(data, &archive.secret_key("operator"))?;
        let next = SenderToken::read(data, &archive.secret_key("operator.next")).map(|next| next.token);
        Some(Self { token, next, rotation })
    }

    /// Puts it into `data`.
    pub(crate) fn write(&self, archive: &ArchiveName, data: &mut SecretData) {
        let Self { token, next, rotation } = self.clone();
        SenderToken { token, previous: None, rotation }.write(data, &archive.secret_key("operator"));
        if let Some(token) = next {
            let next = SenderToken { token, previous: None, rotation: String::new() };
            next.write(data, &archive.secret_key("operator.next"));
        }
    }

    /// From `found` to what is needed now. `answered`: the token to which the receiver has answered.
    pub(crate) fn next(found: Option<Self>, rotation: &str, answered: Option<&str>) -> Result<Self, NoRandomness> {
        let Some(mut found) = found else {
            return Ok(Self { token: new_token()?, next: None, rotation: rotation.to_owned() });
        };
        if let Some(next) = found.next.take_if(|next| answered == Some(next.as_str())) {
            found.token = next;
        }
        if found.next.is_none() && found.rotation != rotation {
            found.next = Some(new_token()?);
            rotation.clone_into(&mut found.rotation);
        }
        Ok(found)
    }

    /// What the receiver must accept, newest last.
    pub(crate) fn accepted(&self) -> Vec<&str> {
        [Some(&self.token), self.next.as_ref()].into_iter().flatten().map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_shown_only_after_the_receiver_has_answered_to_it() {
        let archive = ArchiveName::new("team", "lab");
        let again = |token: &OperatorToken| {
            let mut data = SecretData::new();
            token.write(&archive, &mut data);
            OperatorToken::read(&archive, &data)
        };
        let first = OperatorToken::next(None, "", None).unwrap();
        assert_eq!(OperatorToken::next(again(&first), "", Some(&first.token)).unwrap(), first);

        let both = OperatorToken::next(again(&first), "monday", Some(&first.token)).unwrap();
        let new = both.next.clone().unwrap();
        assert_eq!((&both.token, both.accepted().len()), (&first.token, 2));
        // Neither an answer to the old one, nor none, nor another request ends it.
        for (rotation, answered) in [("monday", Some(first.token.as_str())), ("monday", None), ("tuesday", None)] {
            assert_eq!(OperatorToken::next(again(&both), rotation, answered).unwrap(), both);
        }
        let changed = OperatorToken::next(again(&both), "monday", Some(&new)).unwrap();
        assert_eq!(changed.accepted(), [new.as_str()]);
        assert_eq!(OperatorToken::next(again(&changed), "monday", Some(&new)).unwrap(), changed);
    }
}
