//! The listener over real sockets.

mod bind;
mod capacity;
mod exchange;
mod linger;
mod memory;
mod slow;
mod stop;
mod support;
mod tls;
