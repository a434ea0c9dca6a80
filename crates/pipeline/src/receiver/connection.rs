//! A connection whose client cannot hold it: the head of a request must come in time, and answers must be taken.
//!
//! hyper has one timer for an idle connection and a slow head. A sender may well be idle for a minute between requests,
//! but a head that has begun is to end in seconds; hence a timer of our own below hyper.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Whether a connection is between two requests; set by the service, read by [`Guarded`].
#[derive(Clone, Default)]
pub(super) struct InRequest(Arc<AtomicBool>);

impl InRequest {
    /// The head of a request is complete, or its answer is given.
    pub(super) fn set(&self, in_request: bool) {
        self.0.store(in_request, Ordering::Release);
    }
}

/// A connection that fails with `TimedOut` when its client is too slow.
pub(super) struct Guarded<S> {
    inner: S,
    in_request: InRequest,
    head_timeout: Duration,
    write_timeout: Duration,
    head: Option<Pin<Box<Sleep>>>,
    write: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    /// Guards `inner`, of which the first request's head must come within `head_timeout` from now.
    pub(super) fn new(inner: S, in_request: InRequest, head_timeout: Duration, write_timeout: Duration) -> Self {
        let head = Some(timer(head_timeout));
        Self { inner, in_request, head_timeout, write_timeout, head, write: None }
    }

    /// Lets a write be, or fails it when none has gone on for too long.
    fn check_write<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.write = None;
            return wrote;
        }
        let limit = self.write_timeout;
        ready!(self.write.get_or_insert_with(|| timer(limit)).as_mut().poll(cx));
        Poll::Ready(Err(too_slow("the client does not take the answer")))
    }
}

fn timer(after: Duration) -> Pin<Box<Sleep>> {
    Box::pin(sleep_until(Instant::now() + after))
}

fn too_slow(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = into.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, into);
        if this.in_request.0.load(Ordering::Acquire) {
            this.head = None;
            return read;
        }
        if read.is_ready() && into.filled().len() > before && this.head.is_none() {
            this.head = Some(timer(this.head_timeout));
        }
        if let Some(head) = &mut this.head
            && head.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(too_slow("the head of the request does not end")));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.check_write(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.check_write(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.check_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.check_write(cx, closed)
    }
}
