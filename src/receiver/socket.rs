//! A socket of any kind, and the handle on it that is left when hyper has ended its connection.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// What a client still sends after its last answer is read this long. Closed at once, the connection would be reset, and
/// most clients would never see the answer, but send everything again.
const LINGER: Duration = Duration::from_secs(1);

pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Two hands on one socket, used one after the other.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Box<dyn Socket>>>);

impl Shared {
    pub fn new(socket: Box<dyn Socket>) -> Shared {
        Shared(Arc::new(Mutex::new(socket)))
    }

    /// Ends the sending side and reads what still comes. How that ends is of no interest: the answer was sent.
    pub async fn linger(mut self) {
        let read_out = async {
            self.shutdown().await?;
            let mut rest = vec![0; 16 << 10];
            while self.read(&mut rest).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        match tokio::time::timeout(LINGER, read_out).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::trace!(%error, "a connection was reset after its answer"),
            Err(_) => tracing::trace!("a client kept sending after its answer"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Socket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_shutdown(cx)
    }
}
