//! Which protocol a request speaks, from two headers and nothing else.
//!
//! `X-Prometheus-Remote-Write-Version` is informative and decides nothing (remote write 2.0, "Required Headers").

use promarchive_model::Protocol;
use promarchive_model::quote::quote;

const MEDIA_TYPE: &str = "application/x-protobuf";
const V1_MESSAGE: &str = "prometheus.WriteRequest";
const V2_MESSAGE: &str = "io.prometheus.write.v2.Request";

/// A request in a format that is not spoken here: answer 415. One line that names the fault and what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}; expected {accepted}")]
pub struct Unsupported {
    fault: String,
    accepted: &'static str,
}

/// Chooses the protocol by `Content-Type`, and checks that `Content-Encoding` is snappy (block format) or absent.
///
/// Lenient where RFC 9110 is: case of the media type, white space, quotes, other parameters. No `Content-Type`, or one
/// without `proto=`, is 1.0.
///
/// # Errors
///
/// [`Unsupported`] for any other media type, message or encoding, for a parameter without `=`, and for two that
/// contradict.
pub fn negotiate(content_type: Option<&str>, content_encoding: Option<&str>) -> Result<Protocol, Unsupported> {
    let protocol = protocol(content_type.unwrap_or_default().trim())?;
    match content_encoding.unwrap_or_default().trim() {
        "" => Ok(protocol),
        encoding if encoding.eq_ignore_ascii_case("snappy") => Ok(protocol),
        encoding => Err(Unsupported {
            fault: format!("Content-Encoding {} is not supported", quote(encoding.as_bytes())),
            accepted: "snappy (block format)",
        }),
    }
}

fn protocol(content_type: &str) -> Result<Protocol, Unsupported> {
    if content_type.is_empty() {
        return Ok(Protocol::V1);
    }
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if !media_type.eq_ignore_ascii_case(MEDIA_TYPE) {
        return Err(content_type_fault(format!("media type {} is not supported", quote(media_type.as_bytes()))));
    }
    let mut chosen = None;
    for parameter in parts.filter(|part| !part.is_empty()) {
        let Some((name, value)) = parameter.split_once('=') else {
            return Err(content_type_fault(format!("parameter {} has no \"=\"", quote(parameter.as_bytes()))));
        };
        if !name.trim_end().eq_ignore_ascii_case("proto") {
            continue;
        }
        let protocol = message(value.trim_start())?;
        if chosen.replace(protocol).is_some_and(|other| other != protocol) {
            return Err(content_type_fault("two different proto= parameters".to_owned()));
        }
    }
    Ok(chosen.unwrap_or(Protocol::V1))
}

fn message(value: &str) -> Result<Protocol, Unsupported> {
    let name = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    match name {
        V1_MESSAGE => Ok(Protocol::V1),
        V2_MESSAGE => Ok(Protocol::V2),
        other => Err(content_type_fault(format!("message {} is not supported", quote(other.as_bytes())))),
    }
}

fn content_type_fault(fault: String) -> Unsupported {
    Unsupported {
        fault: format!("Content-Type: {fault}"),
        accepted: "application/x-protobuf with proto=prometheus.WriteRequest or proto=io.prometheus.write.v2.Request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_negotiation_table() {
        use Protocol::{V1, V2};
        let v1 = "application/x-protobuf;proto=prometheus.WriteRequest";
        let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        let rows: &[(Option<&str>, Option<&str>, Option<Protocol>)] = &[
            (None, None, Some(V1)),
            (Some(""), Some("snappy"), Some(V1)),
            (Some(" "), Some(""), Some(V1)),
            (Some("application/x-protobuf"), Some("snappy"), Some(V1)),
            (Some(v1), Some("snappy"), Some(V1)),
            (Some(v2), Some("snappy"), Some(V2)),
            (Some(v2), None, Some(V2)),
            (Some(v2), Some(" Snappy "), Some(V2)),
            (Some("application/x-protobuf ; proto=io.prometheus.write.v2.Request"), None, Some(V2)),
            (Some("Application/X-Protobuf;\tPROTO = io.prometheus.write.v2.Request "), None, Some(V2)),
            (Some("application/x-protobuf;proto=\"io.prometheus.write.v2.Request\""), None, Some(V2)),
            (Some("application/x-protobuf;charset=utf-8; proto=io.prometheus.write.v2.Request;"), None, Some(V2)),
            (Some("application/x-protobuf;charset=utf-8"), None, Some(V1)),
            (Some("application/x-protobuf;"), None, Some(V1)),
            (Some("application/json"), None, None),
            (Some("text/plain;proto=prometheus.WriteRequest"), None, None),
            (Some("application/x-protobuf;proto=prometheus.writerequest"), None, None),
            (Some("application/x-protobuf;proto="), None, None),
            (Some("application/x-protobuf;proto=a=b"), None, None),
            (Some("application/x-protobuf;proto"), None, None),
            (Some("application/x-protobuf;charset"), None, None),
            (Some("application/x-protobuf;proto=\"prometheus.WriteRequest"), None, None),
            (
                Some("application/x-protobuf;proto=prometheus.WriteRequest;proto=io.prometheus.write.v2.Request"),
                None,
                None,
            ),
            (Some(v2), Some("gzip"), None),
            (Some(v2), Some("zstd"), None),
            (Some(v1), Some("deflate"), None),
            (Some(v1), Some("identity"), None),
            (Some(v1), Some("snappy, snappy"), None),
        ];
        for (content_type, encoding, expected) in rows {
            let got = negotiate(*content_type, *encoding).ok();
            assert_eq!(got, *expected, "{content_type:?} {encoding:?}");
        }
    }

    #[test]
    fn the_answer_is_one_line_that_names_fault_and_choice() {
        let error = negotiate(Some("text/plain\n"), None).unwrap_err().to_string();
        assert_eq!(
            error,
            "Content-Type: media type \"text/plain\" is not supported; expected application/x-protobuf with \
             proto=prometheus.WriteRequest or proto=io.prometheus.write.v2.Request"
        );
        let error = negotiate(None, Some("zs\ntd")).unwrap_err().to_string();
        assert_eq!(error, r#"Content-Encoding "zs\ntd" is not supported; expected snappy (block format)"#);
    }

    #[test]
    fn versions_as_written() {
        assert_eq!((Protocol::V1.as_str(), Protocol::V2.as_str()), ("1.0", "2.0"));
    }
}
