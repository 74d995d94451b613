//! Connections: as many as can be, none that stays silent, all of them finished in the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::sleep;

/// How long a client may take for a request's head, and be silent before it.
const HEAD: Duration = Duration::from_secs(30);

/// How long to wait when a connection cannot be accepted, as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves at most `most` connections at a time until `end` comes; then finishes the requests that
/// run, for at most `grace`.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    most: usize,
    mut end: oneshot::Receiver<()>,
    grace: Duration,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let connections = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(most));
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    loop {
        let (stream, place) = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = &mut end => break,
        };
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // A client that breaks off breaks nothing but its connection.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    tokio::select! {
        () = connections.shutdown() => (),
        () = sleep(grace) => (),
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are written whole: nothing is won by holding them back.
                let _ = stream.set_nodelay(true);
                return (stream, place);
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}
