//! A write request: its body is read within the budgets, and becomes an answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use promarchive_api::STOPPING;
use promarchive_model::Protocol;
use promarchive_wire::negotiate;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{
    App, DISCARD_BYTES, DISCARD_PATIENCE, RETRY_AFTER_S, RETRY_SOON_S, WriteTarget, answer_early, drains, internal,
    later, line,
};
use crate::receiver::admission::{Busy, Charge};
use crate::receiver::body::{self, BodyError};
use crate::receiver::deliveries::Source;
use crate::receiver::fair::Sender;
use crate::receiver::ingest::{WriteError, Written};

/// How a zstd frame begins, and no snappy block: a copy cannot come first.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// One remote-write request.
pub(super) async fn write<T: WriteTarget>(
    State(app): State<Arc<App<T>>>,
    Extension(source): Extension<Source>,
    request: Request,
) -> Response {
    let started = Instant::now();
    let headers = request.headers();
    let negotiated = match (joined(headers, header::CONTENT_TYPE), joined(headers, header::CONTENT_ENCODING)) {
        (Ok(kind), Ok(encoding)) => negotiate(kind.as_deref(), encoding.as_deref()).map_err(|error| error.to_string()),
        (Err(unreadable), _) | (_, Err(unreadable)) => Err(unreadable),
    };
    let protocol = match negotiated {
        Ok(protocol) => protocol,
        Err(fault) => {
            return answer_early(request, DISCARD_BYTES, line(StatusCode::UNSUPPORTED_MEDIA_TYPE, &fault));
        }
    };
    let outcome = handle(&app, source, protocol, request, started).await;
    respond(protocol, outcome)
}

/// The values of a header that may be there once, as text; several are joined as RFC 9110 says.
fn joined(headers: &HeaderMap, name: HeaderName) -> Result<Option<String>, String> {
    let values: Result<Vec<&str>, _> = headers.get_all(&name).iter().map(HeaderValue::to_str).collect();
    match values {
        Ok(values) if values.is_empty() => Ok(None),
        Ok(values) => Ok(Some(values.join(", "))),
        Err(_) => Err(format!("the header {name} contains characters that are not visible ASCII")),
    }
}

/// What becomes of a write request whose protocol is known.
enum Outcome {
    Done(Written),
    TooLong(String),
    Unsupported(String),
    Bad(String),
    Later { reason: String, retry_after_s: u64 },
    Internal(Response),
}

fn busy(busy: &Busy) -> Outcome {
    Outcome::Later { reason: busy.to_string(), retry_after_s: RETRY_SOON_S }
}

#[expect(clippy::disallowed_methods, reason = "its end is waited for here")]
async fn handle<T: WriteTarget>(
    app: &Arc<App<T>>,
    source: Source,
    protocol: Protocol,
    request: Request,
    started: Instant,
) -> Outcome {
    let (drain, sender) = (drains(&request), source.sender());
    let read = read_admitted(app, &sender, request.into_body(), started + app.settings.timeouts.body).await;
    let (body, charge) = match read {
        Ok(read) => read,
        Err((outcome, rest)) => {
            if let Some(rest) = rest.filter(|_| drain) {
                body::discard(rest, DISCARD_BYTES, DISCARD_PATIENCE);
            }
            return outcome;
        }
    };
    app.metrics.received_bytes.inc_by(u64::try_from(body.len()).unwrap_or(u64::MAX));
    if body.starts_with(&ZSTD_MAGIC) {
        return Outcome::Unsupported("the body is compressed with zstd; expected snappy (block format)".to_owned());
    }
    let writing = Arc::clone(app);
    // A task of its own: a sender that goes away takes nothing back half done, and the charge lasts as long as the work.
    let work = tokio::spawn(async move {
        let mut written = admit_and_write(&writing, sender, protocol, body).await;
        if let Some(delivered) = written.as_mut().ok().and_then(|written| written.delivered.take()) {
            writing.mark(source, delivered);
        }
        drop(charge);
        written
    });
    match timeout_at(started + app.settings.timeouts.answer, work).await {
        Ok(Ok(Ok(written))) => Outcome::Done(written),
        Ok(Ok(Err(WriteError::Undecodable(fault) | WriteError::TooLarge(fault)))) => Outcome::Bad(fault),
        Ok(Ok(Err(WriteError::Unavailable { reason, retry_after_s }))) => Outcome::Later { reason, retry_after_s },
        Ok(Err(error)) => Outcome::Internal(internal("write", &error)),
        // It may still be kept; the retry is then recognised.
        Err(_) => {
            Outcome::Later { reason: "the write takes too long; try again".to_owned(), retry_after_s: RETRY_AFTER_S }
        }
    }
}

/// Room first: who waits for it holds nothing of what others are decoded to.
async fn admit_and_write<T: WriteTarget>(
    app: &App<T>,
    sender: Sender,
    protocol: Protocol,
    body: Bytes,
) -> Result<Written, WriteError> {
    app.target.room(&sender).await?;
    // A declared length over the limit is the core's to refuse; it allocates nothing for it.
    let declared = snap::raw::decompress_len(&body).ok().and_then(|length| u64::try_from(length).ok());
    let declared = declared.filter(|length| *length <= app.settings.max_decoded_bytes).unwrap_or(0);
    let busy = |busy: Busy| WriteError::Unavailable { reason: busy.to_string(), retry_after_s: RETRY_SOON_S };
    let decoded = app.admission.decoded(&sender, declared).await.map_err(busy)?;
    app.target.write(sender, protocol, body, decoded).await
}

type Unread = (Outcome, Option<Body>);

/// Reads the body, after its memory has been given out.
async fn read_admitted<T: WriteTarget>(
    app: &App<T>,
    sender: &Sender,
    body: Body,
    deadline: Instant,
) -> Result<(Bytes, Charge), Unread> {
    let limit = app.settings.max_request_bytes;
    let declared = body::declared_length(&body);
    if *app.stopping.borrow() {
        let outcome = Outcome::Later { reason: STOPPING.to_owned(), retry_after_s: RETRY_AFTER_S };
        return Err((outcome, Some(body)));
    }
    if declared.is_some_and(|length| length > limit) {
        return Err((Outcome::TooLong(BodyError::TooLong { limit }.to_string()), Some(body)));
    }
    let mut charge = match app.admission.body(sender, declared.unwrap_or(limit)).await {
        Ok(charge) => charge,
        Err(nothing) => return Err((busy(&nothing), Some(body))),
    };
    let read = tokio::select! {
        read = body::read(body, limit, &app.admission, &mut charge) => Some(read),
        () = sleep_until(deadline) => None,
        () = stopped_for(app.stopping.clone(), app.settings.timeouts.stopping_body) => None,
    };
    let bytes = match read {
        Some(Ok(bytes)) => bytes,
        Some(Err((error, rest))) => return Err((unread(&error), Some(rest))),
        None => {
            // Not a 4xx: the network, or this machine, may be what is slow.
            let reason = "the request body did not arrive in time".to_owned();
            return Err((Outcome::Later { reason, retry_after_s: RETRY_AFTER_S }, None));
        }
    };
    charge.shrink_to(bytes.len());
    Ok((bytes, charge))
}

/// Resolves so long after the signal to stop.
async fn stopped_for(mut stopping: watch::Receiver<bool>, patience: Duration) {
    // An error means that the server is gone, which is a stop as well.
    let _ = stopping.wait_for(|stopping| *stopping).await;
    sleep(patience).await;
}

fn unread(error: &BodyError) -> Outcome {
    match error {
        BodyError::TooLong { .. } => Outcome::TooLong(error.to_string()),
        BodyError::Busy(_) => Outcome::Later { reason: error.to_string(), retry_after_s: RETRY_SOON_S },
        // Whoever broke it, a retry can mend it.
        BodyError::Broken(_) | BodyError::NoMemory { .. } => {
            Outcome::Later { reason: error.to_string(), retry_after_s: RETRY_AFTER_S }
        }
    }
}

/// The answer to a write request; with version 2 it says how much was written, whatever came of it.
fn respond(protocol: Protocol, outcome: Outcome) -> Response {
    let (written, mut response) = match outcome {
        Outcome::Done(written) => {
            let response = match &written.refused {
                None => StatusCode::NO_CONTENT.into_response(),
                Some(refused) => line(StatusCode::BAD_REQUEST, refused),
            };
            (written, response)
        }
        Outcome::TooLong(fault) => (Written::default(), line(StatusCode::PAYLOAD_TOO_LARGE, &fault)),
        // vmagent takes this for a reason to send the same in snappy.
        Outcome::Unsupported(fault) => (Written::default(), line(StatusCode::UNSUPPORTED_MEDIA_TYPE, &fault)),
        Outcome::Bad(fault) => (Written::default(), line(StatusCode::BAD_REQUEST, &fault)),
        Outcome::Later { reason, retry_after_s } => (Written::default(), later(&reason, retry_after_s)),
        Outcome::Internal(response) => (Written::default(), response),
    };
    // Version 1 must not have them: Prometheus would report partial writes.
    if protocol == Protocol::V2 {
        for (name, count) in [
            ("x-prometheus-remote-write-samples-written", written.samples),
            ("x-prometheus-remote-write-histograms-written", written.histograms),
            ("x-prometheus-remote-write-exemplars-written", written.exemplars),
        ] {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from(count));
        }
    }
    response
}
