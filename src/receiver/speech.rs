//! What a client speaks, told by its first bytes: TLS, HTTP/2 or HTTP/1.1. Both ports understand all that they can.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The first bytes of an HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Type of a TLS record that holds a handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Tls,
    Http1,
    Http2,
}

/// `None`: more bytes are needed to tell.
fn tell(bytes: &[u8]) -> Option<Speech> {
    match bytes.first() {
        None => None,
        Some(&TLS_HANDSHAKE) => Some(Speech::Tls),
        Some(_) if bytes.starts_with(PREFACE) => Some(Speech::Http2),
        Some(_) if PREFACE.starts_with(bytes) => None,
        Some(_) => Some(Speech::Http1),
    }
}

/// Reads until it is clear what is spoken; the bytes are read again from the answer. `None`: the client went away
/// before, as probes of an open port do.
pub(super) async fn hear<S: AsyncRead + Unpin>(mut socket: S) -> io::Result<Option<(Speech, Heard<S>)>> {
    let mut bytes = BytesMut::with_capacity(PREFACE.len());
    loop {
        if let Some(speech) = tell(&bytes) {
            return Ok(Some((speech, Heard { bytes: bytes.freeze(), socket })));
        }
        // Never more than the preface, so that nothing of the request is held here.
        let mut rest = [0; PREFACE.len()];
        let read = socket.read(&mut rest[bytes.len()..]).await?;
        if read == 0 {
            return Ok(None);
        }
        let begin = bytes.len();
        bytes.extend_from_slice(&rest[begin..begin + read]);
    }
}

/// A socket whose first bytes were read already and stand before the others.
pub(super) struct Heard<S> {
    bytes: Bytes,
    socket: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buffer);
        }
        let count = self.bytes.len().min(buffer.remaining());
        buffer.put_slice(&self.bytes[..count]);
        self.bytes.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_is_spoken() {
        for (bytes, speech) in [
            (&b""[..], None),
            (b"P", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (PREFACE, Some(Speech::Http2)),
            (b"PO", Some(Speech::Http1)),
            (b"PRI * HTTP/1.1", Some(Speech::Http1)),
            (b"GET / HTTP/1.1", Some(Speech::Http1)),
            (b"\x16\x03\x01", Some(Speech::Tls)),
        ] {
            assert_eq!(tell(bytes), speech, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn what_was_heard_is_read_again() {
        let request = b"POST /v1/traces HTTP/1.1\r\n\r\n";
        let (speech, mut heard) = hear(&request[..]).await.unwrap().unwrap();
        let mut again = Vec::new();
        heard.read_to_end(&mut again).await.unwrap();
        assert_eq!((speech, &again[..]), (Speech::Http1, &request[..]));
        assert!(hear(&b"PRI"[..]).await.unwrap().is_none());
    }
}
