//! A connection whose client cannot hold it: the head of a request must come in time, and answers must be taken.
//!
//! hyper has one timer for an idle connection and a slow head. A sender may well be idle for a minute between requests,
//! but a head that has begun is to end in seconds, and so is the time of a stranger who asks for nothing; hence a timer of our own below
//! hyper.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How far a connection has come; set by the service, read by [`Guarded`].
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<Flags>);

#[derive(Default)]
struct Flags {
    /// Requests that have begun.
    requests: AtomicU64,
    in_request: AtomicBool,
    known: AtomicBool,
}

impl Progress {
    /// The head of a request is complete.
    pub(super) fn begin_request(&self) {
        self.0.in_request.store(true, Ordering::Release);
        self.0.requests.fetch_add(1, Ordering::Release);
    }

    /// The answer of a request is given.
    pub(super) fn end_request(&self) {
        self.0.in_request.store(false, Ordering::Release);
    }

    /// A request of the connection needed access, and got it.
    pub(super) fn set_known(&self) {
        self.0.known.store(true, Ordering::Release);
    }

    /// Whether one of its requests needed access and got it.
    pub(super) fn is_known(&self) -> bool {
        self.0.known.load(Ordering::Acquire)
    }

    fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Acquire)
    }

    fn is_in_request(&self) -> bool {
        self.0.in_request.load(Ordering::Acquire)
    }
}

/// How long a client may take.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// From the first byte of a head, or from connecting, to its end.
    pub(super) head: Duration,
    /// From an answer to the next head, as long as the client is not known.
    pub(super) idle_stranger: Duration,
    /// Without taking a byte of an answer.
    pub(super) write: Duration,
}

/// What the client is waited for.
enum Wait {
    /// The first byte of a head. There is no end to it here once the client is known.
    Idle(Option<Pin<Box<Sleep>>>),
    /// The end of a head.
    Head(Pin<Box<Sleep>>),
    /// Nothing: a request is in flight.
    Request,
}

/// A connection that fails with `TimedOut` when its client is too slow.
pub(super) struct Guarded<S> {
    inner: S,
    progress: Progress,
    patience: Patience,
    /// Requests that had begun at the last read.
    requests: u64,
    wait: Wait,
    write: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    /// Guards `inner`, of which the first request's head must come within `patience.head` from now.
    pub(super) fn new(inner: S, progress: Progress, patience: Patience) -> Self {
        Self { inner, progress, patience, requests: 0, wait: Wait::Head(timer(patience.head)), write: None }
    }

    /// After a read, which may have brought something: whether the client has had its time.
    fn is_late(&mut self, cx: &mut Context<'_>, came: bool) -> bool {
        let requests = self.progress.requests();
        if requests != self.requests {
            // Short ones begin and end between two reads.
            (self.requests, self.wait) = (requests, Wait::Request);
        }
        if self.progress.is_in_request() {
            return false;
        }
        if matches!(self.wait, Wait::Request) {
            self.wait = Wait::Idle((!self.progress.is_known()).then(|| timer(self.patience.idle_stranger)));
        }
        if came && matches!(self.wait, Wait::Idle(_)) {
            self.wait = Wait::Head(timer(self.patience.head));
        }
        match &mut self.wait {
            Wait::Head(timer) | Wait::Idle(Some(timer)) => timer.as_mut().poll(cx).is_ready(),
            Wait::Idle(None) | Wait::Request => false,
        }
    }

    /// Lets a write be, or fails it when none has gone on for too long.
    fn check_write<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.write = None;
            return wrote;
        }
        let limit = self.patience.write;
        ready!(self.write.get_or_insert_with(|| timer(limit)).as_mut().poll(cx));
        Poll::Ready(Err(too_slow("the client does not read the response")))
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
        let came = read.is_ready() && into.filled().len() > before;
        if this.is_late(cx, came) {
            return Poll::Ready(Err(too_slow("the client takes too long to send a request")));
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
