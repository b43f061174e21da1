//! The messages that are sent.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd as _};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use crate::name::{GROUP, Mac, Purpose};

/// The number that tells our routes from others in `ip route`.
const PROTOCOL: u8 = 0x4c;

/// One end of a pair that is to be made.
pub(super) struct NewEnd<'e> {
    pub(super) name: &'e str,
    pub(super) mac: Mac,
    /// The namespace that it goes to, if not that of the socket.
    pub(super) namespace: Option<&'e dyn AsFd>,
    /// The bridge that it becomes a port of.
    pub(super) master: Option<u32>,
}

impl NewEnd<'_> {
    fn message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(self.name.to_owned()));
        message.attributes.extend(mark(self.mac));
        if let Some(master) = self.master {
            message.attributes.push(LinkAttribute::Controller(master));
        }
        if let Some(namespace) = self.namespace {
            message.attributes.push(LinkAttribute::NetNsFd(namespace.as_fd().as_raw_fd()));
        }
        message
    }
}

fn mark(mac: Mac) -> [LinkAttribute; 2] {
    [LinkAttribute::Address(mac.0.to_vec()), LinkAttribute::Group(GROUP)]
}

fn bring_up(message: &mut LinkMessage) {
    message.header.flags |= LinkFlags::Up;
    message.header.change_mask |= LinkFlags::Up;
}

/// Both ends of a pair in one message: no temporary name, no moment in which an end is where it does not belong. Neither is up: the kernel
/// refuses to raise an end before it has its other (`ENOTCONN`), and a port that is up before it is attached gets addresses of its own.
pub(super) fn new_pair(end: &NewEnd<'_>, peer: &NewEnd<'_>) -> Message {
    let mut message = end.message();
    let info = vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer.message()))),
    ];
    message.attributes.push(LinkAttribute::LinkInfo(info));
    Message::NewLink(message)
}

pub(super) fn new_bridge(name: &str, mac: Mac) -> Message {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.extend(mark(mac));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
    Message::NewLink(message)
}

/// Names the purpose of an interface of the host, sets the bridge if one is given, and has the kernel give it no IPv6 address.
pub(super) fn set_outer(index: u32, purpose: &Purpose, master: Option<u32>) -> Message {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::IfAlias(purpose.to_string()));
    if let Some(master) = master {
        message.attributes.push(LinkAttribute::Controller(master));
    }
    let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    let no_address = AfSpecUnspec::Inet6(vec![none]);
    message.attributes.push(LinkAttribute::AfSpecUnspec(vec![no_address]));
    Message::SetLink(message)
}

/// Names the purpose of an interface inside a container and brings it up.
pub(super) fn set_inner(index: u32, purpose: &Purpose) -> Message {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::IfAlias(purpose.to_string()));
    bring_up(&mut message);
    Message::SetLink(message)
}

pub(super) fn set_up(index: u32) -> Message {
    let mut message = LinkMessage::default();
    message.header.index = index;
    bring_up(&mut message);
    Message::SetLink(message)
}

pub(super) fn delete_link(index: u32) -> Message {
    let mut message = LinkMessage::default();
    message.header.index = index;
    Message::DelLink(message)
}

pub(super) fn get_link(name: &str) -> Message {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(no_counters());
    Message::GetLink(message)
}

pub(super) fn all_links() -> Message {
    let mut message = LinkMessage::default();
    message.attributes.push(no_counters());
    Message::GetLink(message)
}

/// Counters are a third of what the kernel reports about an interface, and are not used here.
fn no_counters() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

pub(super) fn all_addresses() -> Message {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    Message::GetAddress(message)
}

pub(super) fn all_routes() -> Message {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    Message::GetRoute(message)
}

pub(super) fn address(index: u32, ip: Ipv4Addr, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(ip.into()));
    message.attributes.push(AddressAttribute::Address(ip.into()));
    message
}

/// A route to everything on the link; `None` is the default route.
pub(super) fn route(index: u32, destination: Option<(Ipv4Addr, u8)>) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = AddressFamily::Inet;
    header.table = RouteHeader::RT_TABLE_MAIN;
    header.protocol = RouteProtocol::Other(PROTOCOL);
    header.scope = RouteScope::Link;
    header.kind = RouteType::Unicast;
    if let Some((network, prefix)) = destination {
        header.destination_prefix_length = prefix;
        message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(network)));
    }
    message.attributes.push(RouteAttribute::Oif(index));
    message
}
