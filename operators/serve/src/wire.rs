//! The bytes of a connection on their way to and from hyper.
//!
//! hyper answers what it cannot parse with an empty response of its own, before any handler sees
//! it. Here these responses are held back, so that one with JSON can be sent instead. Here, too, a
//! client that takes no bytes is given up: hyper has no timeout for that.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::listener::Stream;

/// No longer than this is a response that hyper makes itself.
const LONGEST_REFUSAL: usize = 256;

/// A connection, as hyper sees it.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    /// Whether the client sent something since the last response.
    pub begun: bool,
    /// The status of hyper's own response, which was not sent.
    pub refused: Option<StatusCode>,
    stalled: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    /// A write that makes no progress for `stalled` fails.
    pub fn new(stream: Box<dyn Stream>, stalled: Duration) -> Self {
        Wire {
            stream,
            begun: false,
            refused: None,
            stalled,
            timer: None,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.begun |= buf.filled().len() > before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some((at, status)) = refusal(buf) {
            if at == 0 {
                self.refused = Some(status);
                return Poll::Ready(Ok(buf.len()));
            }
            // First the end of the response before it.
            buf = &buf[..at];
        }
        if let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, buf) {
            self.timer = None;
            self.begun = false;
            return Poll::Ready(written);
        }
        let stalled = self.stalled;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(stalled)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Where in these bytes a response of hyper's own begins, and its status. It is the last thing that
/// hyper writes. Responses of handlers are not taken for one: theirs of 4xx have a body, and no
/// body ends with an empty line.
fn refusal(bytes: &[u8]) -> Option<(usize, StatusCode)> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let from = bytes.len().saturating_sub(LONGEST_REFUSAL);
    let at = from
        + bytes[from..]
            .windows(7)
            .rposition(|part| part == b"HTTP/1.")?;
    let head = std::str::from_utf8(&bytes[at..]).ok()?;
    let status = StatusCode::from_bytes(head.get(9..12)?.as_bytes()).ok()?;
    let empty = head.contains("\r\ncontent-length: 0\r\n");
    (status.is_client_error() && empty).then_some((at, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_empty_refusals_are_held_back() {
        let own = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        assert_eq!(refusal(own), Some((0, StatusCode::BAD_REQUEST)));
        let after = [b"{\"a\":1}".as_slice(), own].concat();
        assert_eq!(refusal(&after), Some((7, StatusCode::BAD_REQUEST)));
        for other in [
            "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 12\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            "\r\n\r\n",
        ] {
            assert_eq!(refusal(other.as_bytes()), None, "{other}");
        }
    }
}
