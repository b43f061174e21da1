//! The same changes by netlink messages alone: no model, no look, no store, no check. The sockets are opened within the time that is measured,
//! as no message can be sent without.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::lab::{enter, name};
use crate::Failure;

/// The flags of a message that makes something.
const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// A socket in the namespace of the thread that opens it.
struct Wire {
    socket: Socket,
    sequence: u32,
}

impl Wire {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends one message and waits for the acknowledgement. Returns the index of the link in the answer, if any.
    fn send(&mut self, message: Message, flags: u16) -> io::Result<u32> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let (mut buffer, mut index) = (Vec::with_capacity(16 << 10), 0);
        loop {
            buffer.clear();
            let length = self.socket.recv(&mut buffer, 0)?;
            let mut rest = &buffer[..length];
            while !rest.is_empty() {
                let message =
                    NetlinkMessage::<Message>::deserialize(rest).map_err(io::Error::other)?;
                rest =
                    rest.get((message.header.length as usize).next_multiple_of(4)..).unwrap_or(&[]);
                match message.payload {
                    NetlinkPayload::InnerMessage(Message::NewLink(link)) => {
                        index = link.header.index
                    }
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(index),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }
}

/// Sockets on the host and in the containers.
pub(super) struct Bare {
    host: Wire,
    inside: Vec<(File, Wire)>,
}

/// The address of a container.
pub(super) fn address(container: usize) -> Ipv4Addr {
    let [high, low] = u16::try_from(container + 10).unwrap_or_default().to_be_bytes();
    Ipv4Addr::new(10, 10, high, low)
}

impl Bare {
    fn open(containers: usize) -> Result<Self, Failure> {
        let inside = (0..containers).map(|container| {
            let name = name(container);
            Ok((File::open(format!("/run/netns/{name}"))?, enter(&name, Wire::open)?))
        });
        Ok(Self { host: Wire::open()?, inside: inside.collect::<Result<_, Failure>>()? })
    }

    /// Makes CENs of so many members.
    pub(super) fn cens(cens: usize, members: usize) -> Result<Duration, Failure> {
        let begin = Instant::now();
        let mut bare = Self::open(cens * members)?;
        for cen in 0..cens {
            bare.cen(&format!("n{cen}"), cen * members..(cen + 1) * members)?;
        }
        Ok(begin.elapsed())
    }

    /// Makes one CEN with addresses.
    pub(super) fn network(members: usize) -> Result<Duration, Failure> {
        let begin = Instant::now();
        let mut bare = Self::open(members)?;
        let bridge = bare.cen("n0", 0..members)?;
        let gateway = Message::NewAddress(address_message(bridge, Ipv4Addr::new(10, 10, 0, 1), 16));
        bare.host.send(gateway, NEW)?;
        for container in 0..members {
            bare.address(container)?;
        }
        Ok(begin.elapsed())
    }

    fn cen(&mut self, cen: &str, members: std::ops::Range<usize>) -> Result<u32, Failure> {
        let mut bridge = marked(cen, [2, 0, 0, 0, 0, 1]);
        let kind = LinkInfo::Kind(InfoKind::Bridge);
        bridge.attributes.push(LinkAttribute::LinkInfo(vec![kind]));
        self.host.send(Message::NewLink(bridge), NEW)?;
        let index = self.host.send(get(cen), 0)?;
        self.finish(index, &format!("leviathan:{cen}"))?;
        for container in members {
            self.member(cen, index, container)?;
        }
        Ok(index)
    }

    fn member(&mut self, cen: &str, bridge: u32, container: usize) -> Result<(), Failure> {
        let (out, alias) = (format!("c{container}.0o"), format!("leviathan:{cen}:c{container}:0"));
        let (namespace, inside) = &mut self.inside[container];
        let low = u8::try_from(container % 256).unwrap_or_default();
        let mut peer = marked(cen, [2, 0, 0, 1, 0, low]);
        peer.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
        let mut pair = marked(&out, [2, 0, 0, 2, 0, low]);
        pair.attributes.push(LinkAttribute::Controller(bridge));
        let data = LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer)));
        pair.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), data]));
        self.host.send(Message::NewLink(pair), NEW)?;
        let index = inside.send(get(cen), 0)?;
        let mut raised = up(index);
        raised.attributes.push(LinkAttribute::IfAlias(alias.clone()));
        inside.send(Message::SetLink(raised), 0)?;
        let index = self.host.send(get(&out), 0)?;
        self.finish(index, &alias)
    }

    fn finish(&mut self, index: u32, alias: &str) -> Result<(), Failure> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
        let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![none])]));
        self.host.send(Message::SetLink(message), 0)?;
        self.host.send(Message::SetLink(up(index)), 0)?;
        Ok(())
    }

    fn address(&mut self, container: usize) -> Result<(), Failure> {
        let inside = &mut self.inside[container].1;
        let index = inside.send(get("n0"), 0)?;
        inside.send(Message::NewAddress(address_message(index, address(container), 0)), NEW)?;
        let network = Some((Ipv4Addr::new(10, 10, 0, 0), 16));
        inside.send(Message::NewRoute(route(index, network)), NEW)?;
        inside.send(Message::NewRoute(route(index, None)), NEW)?;
        Ok(())
    }
}

fn marked(name: &str, mac: [u8; 6]) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::Address(mac.to_vec()));
    message.attributes.push(LinkAttribute::Group(4711));
    message
}

fn get(name: &str) -> Message {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    Message::GetLink(message)
}

fn up(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags |= LinkFlags::Up;
    message.header.change_mask |= LinkFlags::Up;
    message
}

fn address_message(index: u32, ip: Ipv4Addr, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(ip.into()));
    message.attributes.push(AddressAttribute::Address(ip.into()));
    message
}

fn route(index: u32, destination: Option<(Ipv4Addr, u8)>) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = AddressFamily::Inet;
    header.table = RouteHeader::RT_TABLE_MAIN;
    header.protocol = RouteProtocol::Static;
    header.scope = RouteScope::Link;
    header.kind = RouteType::Unicast;
    if let Some((network, prefix)) = destination {
        header.destination_prefix_length = prefix;
        message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(network)));
    }
    message.attributes.push(RouteAttribute::Oif(index));
    message
}
