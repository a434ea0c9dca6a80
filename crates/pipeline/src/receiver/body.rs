//! Request bodies: read up to a limit, and thrown away up to a limit.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use hyper::body::Body as _;
use tokio::time::timeout;

use super::admission::{Admission, Busy, Charge};

/// Nothing beyond is allocated on the word of a header alone.
const TRUSTED_BYTES: usize = 16 << 10;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// Longer than allowed.
    #[error("the request body exceeds the limit of {limit} bytes: send less data per request")]
    TooLong {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The connection broke off, or the framing is wrong.
    #[error("the request body is incomplete: {0}")]
    Broken(String),
    /// The budget for bodies is used up.
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error("there is not enough memory for a request body of {bytes} bytes")]
    NoMemory {
        /// What was to be held, in bytes.
        bytes: usize,
    },
}

/// The length of `body` if the sender has declared it, in bytes.
pub(super) fn declared_length(body: &Body) -> Option<u64> {
    body.size_hint().exact()
}

/// Reads `body` up to `limit` bytes; on an error hands back, for [`discard`], what has not been read. `charge` grows
/// before what is held does.
pub(super) async fn read(
    body: Body,
    limit: u64,
    admission: &Admission,
    charge: &mut Charge,
) -> Result<Bytes, (BodyError, Body)> {
    let declared = declared_length(&body).map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    // Never more than was admitted: the declared length, or the limit.
    let most = declared.unwrap_or(usize::MAX).min(usize::try_from(limit).unwrap_or(usize::MAX));
    let mut held = Vec::new();
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let fault = match chunk {
            Ok(chunk) if declared == Some(chunk.len()) && held.is_empty() && chunk.len() <= most => {
                match admission.grow(charge, chunk.len()).await {
                    Ok(()) => return Ok(chunk),
                    Err(busy) => Err(busy.into()),
                }
            }
            Ok(chunk) => append(&mut held, &chunk, most, limit, admission, charge).await,
            Err(error) => Err(BodyError::Broken(error.to_string())),
        };
        if let Err(error) = fault {
            return Err((error, Body::from_stream(stream)));
        }
    }
    held.shrink_to_fit();
    Ok(Bytes::from(held))
}

async fn append(
    held: &mut Vec<u8>,
    chunk: &[u8],
    most: usize,
    limit: u64,
    admission: &Admission,
    charge: &mut Charge,
) -> Result<(), BodyError> {
    let length = held.len().saturating_add(chunk.len());
    if length > most {
        return Err(BodyError::TooLong { limit });
    }
    if length > held.capacity() {
        let capacity = length.max(held.capacity().saturating_mul(2)).max(TRUSTED_BYTES).min(most);
        admission.grow(charge, capacity).await?;
        let more = capacity.saturating_sub(held.len());
        held.try_reserve_exact(more).map_err(|_| BodyError::NoMemory { bytes: capacity })?;
    }
    held.extend_from_slice(chunk);
    Ok(())
}

/// Throws away what is left of `body`, in the background, as far as `bytes` and `patience` go.
///
/// A client that is still sending when the connection closes gets a reset, and may never see the answer that says why.
#[expect(clippy::disallowed_methods, reason = "nothing depends on it")]
pub(super) fn discard(body: Body, bytes: u64, patience: Duration) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(timeout(patience, async move {
        let mut stream = body.into_data_stream();
        let mut left = bytes;
        while let Some(Ok(chunk)) = stream.next().await {
            left = left.saturating_sub(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if left == 0 {
                return;
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::receiver::fair::Sender;
    use promarchive_api::receiver_settings::HttpSettings;

    fn chunked(chunks: &'static [&'static [u8]]) -> Body {
        Body::from_stream(futures::stream::iter(chunks.iter().map(|c| Ok::<_, std::io::Error>(Bytes::from_static(c)))))
    }

    /// For bodies there are two MiB.
    fn admission() -> Admission {
        let mut settings = HttpSettings {
            max_request_bytes: 1 << 20,
            max_decoded_bytes: 1 << 20,
            in_flight_bytes: 4 << 20,
            ..HttpSettings::default()
        };
        settings.timeouts.admission = Duration::from_millis(20);
        Admission::new(&settings, Gauge::default())
    }

    fn sender() -> Sender {
        Sender::Named("a".into())
    }

    async fn read(body: Body, limit: u64) -> Result<Bytes, (BodyError, Body)> {
        let admission = admission();
        let mut charge = admission.body(&sender(), 1).await.unwrap();
        super::read(body, limit, &admission, &mut charge).await
    }

    #[tokio::test]
    async fn reads_to_the_last_byte_of_the_limit() {
        assert_eq!(read(Body::from("abcd"), 4).await.unwrap(), "abcd");
        assert_eq!(read(chunked(&[b"ab", b"cd"]), 4).await.unwrap(), "abcd");
        assert_eq!(read(Body::empty(), 4).await.unwrap(), "");
    }

    #[tokio::test]
    async fn counts_while_it_reads() {
        let (error, rest) = read(chunked(&[b"ab", b"cde", b"rest"]), 4).await.unwrap_err();
        assert!(error.to_string().contains("4 bytes"), "{error}");
        assert_eq!(axum::body::to_bytes(rest, 100).await.unwrap(), "rest");
        assert!(read(Body::from("abcde"), 4).await.is_err());
    }

    #[tokio::test]
    async fn holds_no_more_than_was_admitted() {
        const PART: &[u8] = &[7; 100 << 10];
        assert_eq!(read(chunked(&[PART; 8]), 2 << 20).await.unwrap().len(), 8 * PART.len());
        assert!(matches!(read(chunked(&[PART; 17]), 4 << 20).await, Err((BodyError::Busy(_), _))));
    }

    #[tokio::test]
    async fn grows_in_bounds() {
        let admission = admission();
        let mut charge = admission.body(&sender(), 1).await.unwrap();
        let mut held = Vec::new();
        append(&mut held, &[0; 10], 15, 15, &admission, &mut charge).await.unwrap();
        assert!(held.capacity() <= 15, "{}", held.capacity());
        append(&mut held, &[0; 5], 15, 15, &admission, &mut charge).await.unwrap();
        assert!(append(&mut held, &[0; 1], 15, 15, &admission, &mut charge).await.is_err());
    }
}
