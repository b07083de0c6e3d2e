//! Taking connections, and stopping.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use gfm_pipe_api::{OpError, OpResult};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::Config;
use crate::connection;
use crate::error::ApiError;
use crate::listener::Listener;
use crate::routes;
use crate::shared::Shared;
use crate::worker;

/// How many clients at a time get an answer saying that there are too many connections. Further
/// connections are closed without an answer.
const REFUSALS: usize = 64;
/// Wait after the system refused a connection, most likely for want of file descriptors.
const RECOVER: Duration = Duration::from_millis(100);

/// Answers requests until `shutdown` ends. Then it takes no more connections, and returns when
/// those that are open have got their answers, at the latest after the configured grace period. A
/// batch of questions that is being scored then goes on in its thread, but nobody gets the answers.
///
/// Needs a tokio runtime with time and I/O. Fails if the configuration cannot work or a thread
/// cannot be started; no request makes it fail.
pub async fn serve(
    listener: impl Into<Listener>,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> OpResult<()> {
    config.check()?;
    let listener = listener.into();
    let shared = Arc::new(Shared::new(config));
    let config = &shared.config;
    let (queue, metrics) = (&shared.queue, &shared.metrics);
    let _workers = worker::start(config, queue, metrics)
        .map_err(|e| OpError::wrap("failed to start a thread", e))?;
    let router = routes::router(shared.clone());
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Err(_) => sleep(RECOVER).await,
                Ok(stream) if connections.len() < config.limits.connections => {
                    let (shared, router) = (shared.clone(), router.clone());
                    connections.spawn(connection::run(shared, router, stream, stopped.clone()));
                }
                Ok(mut stream) => {
                    metrics.refused();
                    if let Ok(permit) = refusals.clone().try_acquire_owned() {
                        let most = config.limits.connections;
                        let error = ApiError::busy(format!("{most} connections are open"));
                        tokio::spawn(async move {
                            connection::refuse(&mut *stream, &error).await;
                            drop(permit);
                        });
                    }
                }
            },
        }
        metrics.connections.store(connections.len(), Relaxed);
    }
    shared.stopping.store(true, Relaxed);
    drop(listener);
    let _ = stop.send(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(config.grace, ended).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}
