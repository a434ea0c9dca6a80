//! What is wrong in a spec.

use std::fmt::Display;

use promarchive_api::Timespan;
use promarchive_api::bounds::Bounds;

/// What is wrong in a spec: where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}")]
pub struct Invalid {
    field: String,
    fault: String,
}

pub(super) fn invalid(field: impl Into<String>, fault: impl Into<String>) -> Invalid {
    Invalid { field: field.into(), fault: fault.into() }
}

/// A DNS subdomain, as Kubernetes wants names of most kinds.
pub(super) fn is_object_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

pub(super) fn timespan(field: &str, text: &str) -> Result<Timespan, Invalid> {
    text.parse().map_err(|e: promarchive_api::TimespanError| invalid(field, e.to_string()))
}

/// `given`, if it lies within `bounds`.
pub(super) fn within<T: PartialOrd + Display + Copy>(field: &str, bounds: &Bounds<T>, given: T) -> Result<T, Invalid> {
    if bounds.contain(given) {
        return Ok(given);
    }
    let least = bounds.least;
    Err(invalid(
        field,
        match bounds.most {
            Some(most) => format!("must be from {least} to {most}"),
            None => format!("must be at least {least}"),
        },
    ))
}
