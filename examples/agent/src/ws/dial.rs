//! From an address to an open WebSocket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::header::AUTHORIZATION;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tokio_websockets::{ClientBuilder, Config, Limits, WebSocketStream, upgrade};

use crate::web::Token;

pub(super) type Socket = WebSocketStream<Either<TcpStream, Box<TlsStream<TcpStream>>>>;

/// No answer of a poa server comes near it.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How much may be waiting to be written before no more calls are taken.
const WRITE_AHEAD_BYTES: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("cannot connect to {host}:{port}; is the server running?")]
    Connect { host: String, port: u16, source: io::Error },
    #[error("no TLS connection; is the certificate trusted, and does the server speak TLS there?")]
    Tls(#[source] io::Error),
    #[error("not connected within {0:?}")]
    TimedOut(Duration),
    #[error("the token was refused")]
    Unauthorized,
    #[error(
        "the server answered {0} instead of changing to WebSocket; check the path of the address"
    )]
    NoUpgrade(u16),
    #[error("the server did not change to WebSocket")]
    Handshake(#[source] tokio_websockets::Error),
}

pub(super) async fn dial(
    uri: &Uri,
    tls: Arc<ClientConfig>,
    token: &Token,
) -> Result<Socket, DialError> {
    let stream = connect(uri, tls).await?;
    let builder = ClientBuilder::from_uri(uri.clone())
        .limits(Limits::default().max_payload_len(Some(MAX_ANSWER_BYTES)))
        .config(Config::default().flush_threshold(WRITE_AHEAD_BYTES));
    let builder = builder.add_header(AUTHORIZATION, token.header().clone());
    let builder = builder.map_err(DialError::Handshake)?;
    match builder.connect_on(stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(error) => Err(match status(&error) {
            Some(401) => DialError::Unauthorized,
            Some(status) => DialError::NoUpgrade(status),
            None => DialError::Handshake(error),
        }),
    }
}

async fn connect(
    uri: &Uri,
    tls: Arc<ClientConfig>,
) -> Result<Either<TcpStream, Box<TlsStream<TcpStream>>>, DialError> {
    let is_tls = uri.scheme_str() == Some("wss");
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = match TcpStream::connect((&*host, port)).await {
        Ok(stream) => stream,
        Err(source) => return Err(DialError::Connect { host, port, source }),
    };
    // A call is one small write; Nagle would make it wait for the answer to the last.
    let _ = stream.set_nodelay(true);
    if !is_tls {
        return Ok(Either::Left(stream));
    }
    let name =
        ServerName::try_from(host).map_err(|error| DialError::Tls(io::Error::other(error)))?;
    let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(DialError::Tls)?;
    Ok(Either::Right(Box::new(stream)))
}

fn status(error: &tokio_websockets::Error) -> Option<u16> {
    match error {
        tokio_websockets::Error::Upgrade(upgrade::Error::DidNotSwitchProtocols(status)) => {
            Some(*status)
        }
        _ => None,
    }
}
