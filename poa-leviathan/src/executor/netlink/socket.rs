//! One rtnetlink socket: a request, its answer.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REPLACE,
    NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// The most bytes that the kernel puts into one answer.
const ANSWER: usize = 64 << 10;
/// How often a list that changed while it was read is read again.
const RETRIES: usize = 8;

/// The treatment of an object that exists.
#[derive(Clone, Copy, Debug)]
pub(super) enum Exists {
    /// The request changes it, or is about something else.
    Change,
    /// The request fails.
    Fail,
    /// It is replaced.
    Replace,
}

/// A socket in the namespace in which it was opened.
pub(super) struct Rtnl {
    socket: Socket,
    sequence: u32,
    writes: Arc<AtomicU64>,
    /// The indices of interfaces that are ours, as far as they were seen or made by this socket. An index is not given out again soon:
    /// whatever is asked for one that is gone fails.
    ours: BTreeMap<String, u32>,
}

type Message = NetlinkMessage<RouteNetlinkMessage>;

impl Rtnl {
    /// Opens a socket in the namespace of this thread.
    pub(super) fn open(writes: Arc<AtomicU64>) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0, writes, ours: BTreeMap::new() })
    }

    /// The index of an interface of ours, if it is known.
    pub(super) fn known(&self, name: &str) -> Option<u32> {
        self.ours.get(name).copied()
    }

    /// Remembers the index of an interface of ours.
    pub(super) fn learn(&mut self, name: &str, index: u32) {
        self.ours.insert(name.to_owned(), index);
    }

    /// Forgets an interface that was, or may have been, replaced or deleted.
    pub(super) fn forget(&mut self, name: &str) {
        self.ours.remove(name);
    }

    /// Asks for something new. Returns it as the kernel made it, where the kernel does that (Linux 6.2); elsewhere it has to be asked for.
    pub(super) fn create(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let new = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO;
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | new)?;
        let mut made = None;
        self.collect(&mut |message| made = Some(message))?;
        Ok(made)
    }

    /// Asks for a change.
    pub(super) fn change(
        &mut self,
        message: RouteNetlinkMessage,
        exists: Exists,
    ) -> io::Result<()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let flags = match exists {
            Exists::Change => 0,
            Exists::Fail => NLM_F_CREATE | NLM_F_EXCL,
            Exists::Replace => NLM_F_CREATE | NLM_F_REPLACE,
        };
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        self.collect(&mut |_| {}).map(drop)
    }

    /// Asks for one thing; `None` when it is not there.
    pub(super) fn get(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK)?;
        let mut found = None;
        match self.collect(&mut |message| found = Some(message)) {
            Ok(_) => Ok(found),
            Err(error) if error.raw_os_error() == Some(ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for a list, and keeps what `read` makes of each entry: a message takes many times the memory of what is used of it.
    pub(super) fn dump<T>(
        &mut self,
        message: &RouteNetlinkMessage,
        read: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        for _ in 0..RETRIES {
            self.send(message.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            let mut list = Vec::new();
            if self.collect(&mut |message| list.extend(read(message)))? {
                return Ok(list);
            }
        }
        Err(io::Error::other("the interfaces change faster than they can be listed"))
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        (header.flags, header.sequence_number) = (flags, self.sequence);
        let mut packet = Message::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }

    /// Reads answers until the last. Tells whether they are of one moment.
    fn collect(&mut self, take: &mut dyn FnMut(RouteNetlinkMessage)) -> io::Result<bool> {
        let mut consistent = true;
        let mut buffer = Vec::with_capacity(ANSWER);
        loop {
            buffer.clear();
            let length = self.socket.recv(&mut buffer, 0)?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while !rest.is_empty() {
                let message = Message::deserialize(rest).map_err(io::Error::other)?;
                let taken = (message.header.length as usize).next_multiple_of(4).max(16);
                rest = rest.get(taken..).unwrap_or_default();
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                consistent &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => take(inner),
                    NetlinkPayload::Done(_) => return Ok(consistent),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(consistent),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }
}

/// Error numbers of Linux that mean something here; the same on every architecture that Rust runs on.
pub(super) const ENODEV: i32 = 19;
pub(super) const EEXIST: i32 = 17;
pub(super) const ESRCH: i32 = 3;
pub(super) const EADDRNOTAVAIL: i32 = 99;
pub(super) const EPERM: i32 = 1;
pub(super) const ERANGE: i32 = 34;

/// A success if it failed for one of these reasons.
pub(super) fn allow(result: io::Result<()>, reasons: &[i32]) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error().is_some_and(|code| reasons.contains(&code)) => Ok(()),
        other => other,
    }
}
