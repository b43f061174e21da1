//! WebSocket (RFC 6455) on a [`Server`](crate::Server).
//!
//! [`upgrade`] answers the request of a client to open a WebSocket, and takes the session that follows. That session becomes
//! a task of [`Server::serve`](crate::Server::serve): it counts towards [`max_connections`](crate::Limits::max_connections),
//! and ends with it at the latest. It should watch the token that stops the server, and close with
//! [`WebSocket::close_with`].
//!
//! ```
//! use futures_util::{SinkExt as _, StreamExt as _};
//! use hyper::{Request, Response};
//! use poa_http::Body;
//! use poa_http::websocket::{self, CloseCode, Message, Options, WebSocket};
//! use tokio_util::sync::CancellationToken;
//!
//! fn answer(mut request: Request<Body>, shutdown: CancellationToken) -> Response<String> {
//!     let options = Options::default().max_message(64 << 10);
//!     match websocket::upgrade(&mut request, &options, move |socket| echo(socket, shutdown)) {
//!         Ok(switching) => switching.map(|()| String::new()),
//!         Err(refused) => refused.answer(),
//!     }
//! }
//!
//! async fn echo(mut socket: WebSocket, shutdown: CancellationToken) {
//!     let code = loop {
//!         let message = tokio::select! {
//!             () = shutdown.cancelled() => break CloseCode::GOING_AWAY,
//!             message = socket.next() => message,
//!         };
//!         match message {
//!             Some(Ok(Message::Text(text))) if socket.send(Message::Text(text.clone())).await.is_ok() => {}
//!             Some(Ok(Message::Ping | Message::Pong)) => {}
//!             _ => break CloseCode::NORMAL,
//!         }
//!     };
//!     socket.close_with(code, "").await;
//! }
//! ```
//!
//! No extension is offered: messages are small, and compression would cost each connection a window of memory.

mod error;
mod frames;
mod handshake;
mod message;
mod metered;
mod socket;

pub use error::Error;
pub use handshake::{Handshake, Options, upgrade};
pub use message::{CloseCode, Message, keep};
pub use socket::WebSocket;
