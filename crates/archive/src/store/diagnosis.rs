//! What an error of a store means to the person who has to do something about it.
//!
//! A service answers with a code in a text of its own, and a network with a text of the system's. Those that a person can do something about
//! are told in words, in front of the text itself, which is cut where it gets long.

use object_store::Error;
use promarchive_model::chain;

/// Characters of an error's own text that are told.
const LONGEST: usize = 400;

/// What stands in an error's text, and what it means. The first that is found counts: the more telling ones come first.
const MEANINGS: [(&str, &str); 28] = [
    ("NoSuchBucket", "the bucket does not exist: make it, or correct its name in the URL"),
    ("ContainerNotFound", "the container does not exist: make it, or correct its name in the URL"),
    ("InvalidBucketName", "no bucket can have this name: correct it in the URL"),
    ("InvalidAccessKeyId", "the access key is not known to the store: correct AWS_ACCESS_KEY_ID"),
    // versitygw says so.
    ("XAdminUserNotFound", "the access key is not known to the store: correct AWS_ACCESS_KEY_ID"),
    ("SignatureDoesNotMatch", "the secret key is not that of the access key: correct AWS_SECRET_ACCESS_KEY"),
    ("RequestTimeTooSkewed", "the clock of this machine differs too much from that of the store: set it right"),
    ("ExpiredToken", "the credentials have expired: renew them"),
    ("InvalidToken", "the session token is not valid: renew AWS_SESSION_TOKEN together with the keys"),
    ("AuthorizationHeaderMalformed", "the bucket is in another region: correct AWS_REGION"),
    ("PermanentRedirect", "the bucket is in another region: correct AWS_REGION, or the end point"),
    ("Received redirect without LOCATION", "the bucket is in another region: correct AWS_REGION, or the end point"),
    (
        "AuthorizationPermissionMismatch",
        "the credentials may not do this: give them the role Storage Blob Data Contributor",
    ),
    ("AuthorizationFailure", "the credentials may not do this, or the account's firewall keeps this machine out"),
    (
        "AuthenticationFailed",
        "the store does not accept the credentials: correct them, and check the clock of this machine",
    ),
    (
        "AccessDenied",
        "the credentials may not do this: they need to list, read, write and delete objects of the bucket",
    ),
    ("SlowDown", "the store asks for fewer requests"),
    // Where a client looks for credentials when none were given.
    ("169.254.169.254", "no credentials were given, and this machine has none: set the variables of the store"),
    (
        "metadata.google.internal",
        "no credentials were given, and this machine has none: set GOOGLE_APPLICATION_CREDENTIALS",
    ),
    (
        "invalid peer certificate",
        "the certificate of the store is not trusted: name its authority with AWS_CA_BUNDLE or SSL_CERT_FILE",
    ),
    ("No CA certificates were loaded", "this machine has no certificates of authorities: name some with SSL_CERT_FILE"),
    ("scheme is not allowed", "the end point has no TLS: use https://, or accept it (AWS_ALLOW_HTTP=true)"),
    ("dns error", "the name of the end point is not known: correct it, or look at the DNS"),
    ("failed to lookup address", "the name of the end point is not known: correct it, or look at the DNS"),
    ("Connection refused", "nobody listens at the end point: correct it, or start the store"),
    ("operation timed out", "the store does not answer in time"),
    ("InvalidRange", "the object is shorter than it was"),
    ("NotImplemented", "the store does not have this operation: use another one"),
];

/// An error in one line, with what it means where that is known.
pub(super) fn told(error: &Error) -> String {
    let text = chain(error);
    let meaning = MEANINGS.iter().find(|(part, _)| text.contains(part)).map(|(_, meaning)| *meaning);
    let meaning = meaning.or(match error {
        Error::PermissionDenied { .. } => {
            Some("the credentials may not do this, or the clock of this machine is wrong")
        }
        Error::Unauthenticated { .. } => Some("the store does not accept the credentials: correct them"),
        _ => None,
    });
    let text = shortened(&text);
    meaning.map_or_else(|| text.clone(), |meaning| format!("{meaning} ({text})"))
}

fn shortened(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", words.get(..end).unwrap_or_default()),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(source: &str) -> Error {
        Error::Generic { store: "S3", source: source.to_owned().into() }
    }

    #[test]
    fn what_a_person_can_do_something_about_is_said_first() {
        for (source, wants) in [
            ("404 Not Found: <?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code>", "the bucket does not exist"),
            ("403 Forbidden: <Error><Code>InvalidAccessKeyId</Code>", "the access key is not known"),
            ("403: <Code>SignatureDoesNotMatch</Code>", "the secret key is not that"),
            ("403: <Code>RequestTimeTooSkewed</Code>", "the clock of this machine"),
            ("client error (Connect): invalid peer certificate: UnknownIssuer", "the certificate of the store"),
            ("tcp connect error: Connection refused (os error 111)", "nobody listens at the end point"),
        ] {
            let told = told(&error(source));
            assert!(told.starts_with(wants) && told.contains(&format!("(Generic S3 error: {source})")), "{told}");
        }
        let path = "a".to_owned();
        let denied = told(&Error::PermissionDenied { path, source: "403 Forbidden".into() });
        assert!(denied.starts_with("the credentials may not do this"), "{denied}");
        assert_eq!(told(&error("odd")), "Generic S3 error: odd");
    }

    #[test]
    fn a_long_text_is_one_line_and_cut() {
        let told = told(&error(&"ä\n".repeat(10_000)));
        assert!(told.chars().count() == LONGEST + 1 && told.lines().count() == 1, "{told}");
    }
}
