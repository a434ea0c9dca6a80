//! Certificates and tokens, as they stand in the Secret `promarchive-remote-write`, which every namespace has once.
//!
//! Keys of an archive, each with the prefix `<namespace>.<archive>.`:
//!
//! ```text
//! in the archive's own namespace          in a namespace with senders of it
//!   ca.crt   certificate of its authority    ca.crt                 to know the receiver by
//!   ca.key   private key of the authority    <sender>.token         what the sender shows
//!   ca.renew  when a new authority is due    <sender>.previous      SHA-256 of the token before, while it is accepted too
//!   ca.rotation    which request it answers  <sender>.rotation      which request for a new token this one answers
//!   ca.generation  how many came before it
//!   ca.next.crt, ca.next.key, ca.next.since  the next authority, while it is announced: its certificate is in ca.crt too
//!   ca.former.crt  the former one, until the receiver shows a certificate of the present one: it is in ca.crt too
//!   tls.crt  the receiver's certificate
//!   tls.key  its private key
//!   tls.renew  when it is made anew
//!   operator.token, operator.rotation  what the operator shows, and which request for a new token it answers
//!   operator.next.token  what it shows next, as soon as the receiver has answered to it
//! ```
//!
//! The Secrets are the only place where this is kept; the receiver's tokens file is derived from them. Since the
//! receiver asks senders with unknown tokens to come again, Secrets and tokens file need no common point in time.

mod authority;
mod certificates;
mod operator;
mod tokens;

use std::collections::BTreeMap;

pub(crate) use authority::{Authority, CertificateError, Known, Reach};
pub(crate) use operator::OperatorToken;
pub(crate) use tokens::{SenderToken, new_token, sender_lines, tokens_file};

/// Data of a Secret, decoded.
pub(crate) type SecretData = BTreeMap<String, Vec<u8>>;
