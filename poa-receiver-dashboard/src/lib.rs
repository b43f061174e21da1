//! A live dashboard: a WebSocket feed and a web page.
