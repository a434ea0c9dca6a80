//! Answers of one line, and what becomes of a body that nobody wants.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use tracing::{debug, error};

use super::{DISCARD_PATIENCE, RETRY_AFTER_S};
use crate::receiver::body::{self};

/// The longest message in an answer, in bytes.
const LONGEST_MESSAGE_BYTES: usize = 2048;

/// One line of plain text.
pub(crate) fn line(status: StatusCode, message: &str) -> Response {
    let mut text = String::with_capacity(message.len().min(LONGEST_MESSAGE_BYTES) + 1);
    for character in message.chars() {
        if text.len() + character.len_utf8() > LONGEST_MESSAGE_BYTES {
            text.push('…');
            break;
        }
        text.push(if character.is_control() { ' ' } else { character });
    }
    if status.is_client_error() || status.is_server_error() {
        debug!(status = status.as_u16(), "{text}");
    }
    text.push('\n');
    let kind = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
    (status, [kind, (header::X_CONTENT_TYPE_OPTIONS, "nosniff")], text).into_response()
}

pub(crate) fn later(reason: &str, retry_after_s: u64) -> Response {
    let after = (header::RETRY_AFTER, HeaderValue::from(retry_after_s.max(1)));
    ([after], line(StatusCode::SERVICE_UNAVAILABLE, reason)).into_response()
}

pub(super) fn internal(what: &str, error: &tokio::task::JoinError) -> Response {
    error!("{what} failed unexpectedly: {error}; please report this as a bug");
    later("internal error; see the receiver's log for details", RETRY_AFTER_S)
}

/// Whether the rest of the request's body comes in any case, and is worth being thrown away.
pub(super) fn drains(request: &Request) -> bool {
    // Who expects a 100 has not begun to send.
    !request.headers().contains_key(header::EXPECT)
}

/// Gives an answer that needs nothing of the body.
pub(crate) fn answer_early(request: Request, bytes: u64, response: Response) -> Response {
    if drains(&request) {
        body::discard(request.into_body(), bytes, DISCARD_PATIENCE);
    }
    response
}
