//! Whether a request's body was read to its end: what is left of it on an HTTP/1.1 connection stands before the next
//! request, so that the connection cannot be used again and the client must be told.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};

/// Turns true when the last byte of a body was read.
#[derive(Clone)]
pub(super) struct ReadOut(Arc<AtomicBool>);

impl ReadOut {
    pub fn is_true(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The body as handlers take it, and the word on whether they did.
pub(super) fn watched(body: Incoming) -> (Body, ReadOut) {
    let read_out = ReadOut(Arc::new(AtomicBool::new(body.is_end_stream())));
    (Body::new(Watched { body, read_out: read_out.clone() }), read_out)
}

struct Watched {
    body: Incoming,
    read_out: ReadOut,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.read_out.0.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
