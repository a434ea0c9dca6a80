//! `GET /api/v1/deliveries`.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::{self};
use hyper::{StatusCode, Uri};
use promarchive_api::{Deliveries, LONGEST_DELIVERY_BYTES};

use super::{App, RETRY_AFTER_S, RETRY_SOON_S, WriteTarget, later, line};
use crate::receiver::admission::{Busy, Charge};
use crate::receiver::deliveries::{self, Source};

/// Who has delivered what.
pub(super) async fn deliveries<T: WriteTarget>(
    State(app): State<Arc<App<T>>>,
    Extension(source): Extension<Source>,
    uri: Uri,
) -> Response {
    let Ok(limit) = deliveries::limit(uri.query()) else {
        return line(
            StatusCode::BAD_REQUEST,
            "limit is not a number; expected for example /api/v1/deliveries?limit=1000",
        );
    };
    // The marks, and the same as text.
    let most = app.marks().len().min(limit).saturating_mul(2 * LONGEST_DELIVERY_BYTES);
    let Ok(mut charge) = app.admission.answer(&source.sender(), most as u64).await else {
        return later(&Busy.to_string(), RETRY_SOON_S);
    };
    let reason = app.not_ready();
    let now = app.clock.now_ms();
    let writable_for = app.target.writable_for();
    let told = Deliveries {
        started: app.started,
        now,
        ready: reason.is_none(),
        writable_since: writable_for
            .map(|time| now.saturating_sub_unsigned(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))),
        reason,
        senders: app.tokens.as_ref().map(|tokens| tokens.current().senders()).unwrap_or_default(),
        deliveries: app.marks().list(limit),
    };
    match serde_json::to_string(&told) {
        Ok(json) => {
            drop(told);
            charge.shrink_to(json.len());
            let body = Bytes::from_owner(Charged { text: json + "\n", _charge: charge });
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(error) => later(&error.to_string(), RETRY_AFTER_S),
    }
}

/// An answer that counts for as long as it is in memory: a client may read slowly, or not at all.
struct Charged {
    text: String,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}
