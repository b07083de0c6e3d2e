//! One connection, from its first byte to its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::body::Unread;
use crate::error::{ApiError, raw};
use crate::gate;
use crate::listener::Stream;
use crate::shared::Shared;
use crate::wire::Wire;

/// How long the rest of a refused request is read, so that the client reads the answer.
const LINGER: Duration = Duration::from_secs(1);
/// How much of it is read.
const LINGER_BYTES: usize = 16 << 20;
/// hyper accepts no smaller buffer.
const LEAST_BUFFER: usize = 8192;

/// Serves a connection until it ends, or until `stop` changes and its request is answered.
pub(crate) async fn run(
    shared: Arc<Shared>,
    router: Router,
    stream: Box<dyn Stream>,
    mut stop: watch::Receiver<bool>,
) {
    let limits = &shared.config.limits;
    let unread = Unread::default();
    let service = service_fn({
        let (shared, unread) = (shared.clone(), unread.clone());
        move |request| {
            let (shared, router, unread) = (shared.clone(), router.clone(), unread.clone());
            Box::pin(async move {
                Ok::<_, Infallible>(gate::handle(shared, router, unread, request).await)
            })
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(limits.headers)
        .max_header_size(limits.head_bytes)
        .max_buf_size(limits.head_bytes.max(LEAST_BUFFER))
        // Each response in one piece, as `Wire` expects it.
        .writev(false)
        .serve_connection(TokioIo::new(Wire::new(stream, limits.stalled)), service);
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break ended,
            _ = stop.changed(), if !stopping => stopping = true,
        }
        Pin::new(&mut connection).graceful_shutdown();
    };
    let mut wire = connection.into_parts().io.into_inner();
    let status = match (wire.refused, ended) {
        (Some(status), _) => Some(status),
        (None, Err(e)) if wire.begun && e.is_timeout() => Some(StatusCode::REQUEST_TIMEOUT),
        (None, Err(e)) if wire.begun && e.is_parse() => Some(StatusCode::BAD_REQUEST),
        _ => None,
    };
    if let Some(status) = status {
        let mut observed = shared.metrics.begin(crate::routes::OTHER);
        observed.status = status.as_u16();
        refuse(&mut wire, &ApiError::of_status(status)).await;
    } else if unread.0.load(Relaxed) {
        linger(&mut wire).await;
    } else {
        let _ = timeout(LINGER, wire.shutdown()).await;
    }
}

/// Writes a response to a client whose request is not read, and ends the connection.
pub(crate) async fn refuse(stream: &mut (impl Stream + ?Sized), error: &ApiError) {
    let response = raw(error);
    if let Ok(Ok(())) = timeout(LINGER, stream.write_all(&response)).await {
        linger(stream).await;
    }
}

/// Ends a connection whose client may still be sending. Closed at once, its system would throw away
/// the answer that it has not read.
async fn linger(stream: &mut (impl Stream + ?Sized)) {
    let reading = async {
        let (mut buffer, mut left) = (vec![0; 16 << 10], LINGER_BYTES);
        stream.shutdown().await?;
        while left > 0 {
            match stream.read(&mut buffer).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        std::io::Result::Ok(())
    };
    // The client is gone either way.
    let _ = timeout(LINGER, reading).await;
}
