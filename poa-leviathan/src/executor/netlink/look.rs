//! From what the kernel lists to what is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};

use super::message;
use super::socket::Rtnl;
use crate::Error;
use crate::name::{GROUP, Mac, Purpose};
use crate::number::IP_B;
use crate::seen::{Inside, Link, LinkKind, Owner, Route, Seen};

/// So many interfaces are asked for one by one.
const FEW: usize = 8;
/// A range this wide, such as that of a whole company, does not forbid a network inside it: the narrower route wins.
const TOO_WIDE: u8 = 8;

/// The interfaces of the host, and the octets of networks of others.
pub(super) fn host(rtnl: &mut Rtnl) -> Result<Seen, Error> {
    let found = routes_and_links(rtnl).map_err(|error| failed("the host", &error))?;
    let taken = taken(&found);
    Ok(Seen { host: found.links, taken, ..Seen::default() })
}

/// The interfaces that have one of these names.
pub(super) fn find(
    rtnl: &mut Rtnl,
    names: &BTreeSet<String>,
) -> io::Result<BTreeMap<String, Link>> {
    if names.len() > FEW {
        let wanted = |message| named_link(message).filter(|(name, _)| names.contains(name));
        return Ok(rtnl.dump(&message::all_links(), wanted)?.into_iter().collect());
    }
    let mut found = BTreeMap::new();
    for name in names {
        found.extend(rtnl.get(message::get_link(name))?.and_then(named_link));
    }
    Ok(found)
}

pub(super) fn failed(place: &str, error: &io::Error) -> Error {
    Error::internal(format!("cannot list the interfaces of {place}: {error}"))
}

pub(super) fn routes_and_links(rtnl: &mut Rtnl) -> io::Result<Inside> {
    let mut names = BTreeMap::new();
    let mut links = BTreeMap::new();
    for (name, link) in rtnl.dump(&message::all_links(), named_link)? {
        if link.purpose().is_some() {
            rtnl.learn(&name, link.index);
        }
        names.insert(link.index, name.clone());
        links.insert(name, link);
    }
    for (index, ip, prefix) in rtnl.dump(&message::all_addresses(), address)? {
        if let Some(link) = names.get(&index).and_then(|name| links.get_mut(name)) {
            link.addresses.push((ip, prefix));
        }
    }
    let routes = rtnl.dump(&message::all_routes(), |message| match message {
        Message::NewRoute(message) => route(&message, &names),
        _ => None,
    })?;
    Ok(Inside { links, routes })
}

pub(super) fn named_link(message: Message) -> Option<(String, Link)> {
    match message {
        Message::NewLink(message) => link(&message),
        _ => None,
    }
}

/// The index of an interface, and an address that it has.
fn address(message: Message) -> Option<(u32, Ipv4Addr, u8)> {
    match message {
        Message::NewAddress(message) => {
            Some((message.header.index, local(&message)?, message.header.prefix_len))
        }
        _ => None,
    }
}

/// The name of an interface, and what it is.
pub(super) fn link(message: &LinkMessage) -> Option<(String, Link)> {
    let mut attributes = Attributes::default();
    for attribute in &message.attributes {
        attributes.read(attribute);
    }
    let name = attributes.name?;
    let purpose = attributes.alias.as_deref().and_then(|alias| Purpose::of_interface(&name, alias));
    let mac = attributes.mac.filter(|_| attributes.group == Some(GROUP));
    let (owner, marked) = match (purpose, mac) {
        (Some(purpose), _) => (Owner::Ours(purpose), true),
        (None, Some(mac)) if attributes.alias.is_none() => (Owner::Unfinished(mac), false),
        _ => (Owner::Foreign, false),
    };
    let link = Link {
        index: message.header.index,
        owner,
        kind: attributes.kind,
        up: message.header.flags.contains(LinkFlags::Up),
        master: attributes.master,
        peer: attributes.peer,
        marked,
        addresses: Vec::new(),
    };
    Some((name, link))
}

struct Attributes {
    name: Option<String>,
    alias: Option<String>,
    group: Option<u32>,
    mac: Option<Mac>,
    master: Option<u32>,
    peer: Option<u32>,
    kind: LinkKind,
}

impl Default for Attributes {
    fn default() -> Self {
        let (name, alias, group, mac, master, peer) = (None, None, None, None, None, None);
        Self { name, alias, group, mac, master, peer, kind: LinkKind::Other }
    }
}

impl Attributes {
    fn read(&mut self, attribute: &LinkAttribute) {
        match attribute {
            LinkAttribute::IfName(name) => self.name = Some(name.clone()),
            LinkAttribute::IfAlias(alias) => self.alias = Some(alias.clone()),
            LinkAttribute::Group(group) => self.group = Some(*group),
            LinkAttribute::Address(address) if Mac::is_ours(address) => {
                self.mac = <[u8; 6]>::try_from(&**address).ok().map(Mac);
            }
            LinkAttribute::Controller(master) => self.master = Some(*master),
            LinkAttribute::Link(peer) => self.peer = Some(*peer),
            LinkAttribute::LinkInfo(infos) => self.kind = kind(infos),
            _ => {}
        }
    }
}

fn kind(infos: &[LinkInfo]) -> LinkKind {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(InfoKind::Bridge) => Some(LinkKind::Bridge),
        LinkInfo::Kind(InfoKind::Veth) => Some(LinkKind::Veth),
        _ => None,
    });
    kind.unwrap_or(LinkKind::Other)
}

fn local(message: &AddressMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(ip)) => Some(*ip),
        _ => None,
    })
}

fn route(message: &RouteMessage, names: &BTreeMap<u32, String>) -> Option<Route> {
    if message.header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let (mut device, mut network) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => device = names.get(index).cloned(),
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => network = Some(*ip),
            _ => {}
        }
    }
    let prefix = message.header.destination_prefix_length;
    let destination = (prefix > 0).then(|| (network.unwrap_or(Ipv4Addr::UNSPECIFIED), prefix));
    Some(Route { destination, device: device? })
}

/// Networks that the host uses for something else.
fn taken(host: &Inside) -> BTreeSet<u8> {
    let ours = |device: &str| host.links.get(device).is_some_and(|link| link.purpose().is_some());
    let routes = host.routes.iter().filter(|route| !ours(&route.device));
    let routes = routes.filter_map(|route| route.destination);
    let foreign = host.links.values().filter(|link| link.purpose().is_none());
    let addresses = foreign.flat_map(|link| link.addresses.iter().copied());
    routes.chain(addresses).flat_map(|(ip, prefix)| octets(ip, prefix)).collect()
}

fn octets(ip: Ipv4Addr, prefix: u8) -> impl Iterator<Item = u8> {
    let [first, b, ..] = ip.octets();
    let is_narrow = first == 10 && prefix > TOO_WIDE;
    let width = 1_u16 << 16_u8.saturating_sub(prefix.clamp(TOO_WIDE + 1, 16));
    let start = u16::from(b) / width * width;
    let range = if is_narrow { start..start + width } else { 0..0 };
    range.filter_map(|b| u8::try_from(b).ok()).filter(|b| IP_B.contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ip: [u8; 4], prefix: u8) -> Vec<u8> {
        octets(ip.into(), prefix).collect()
    }

    #[test]
    fn networks_in_use_are_told_by_their_second_octet() {
        assert_eq!(of([10, 12, 0, 0], 16), [12]);
        assert_eq!(of([10, 12, 7, 0], 24), [12]);
        assert_eq!(of([10, 13, 0, 0], 15), [12, 13]);
        assert_eq!(of([10, 0, 0, 0], 12), (10..16).collect::<Vec<u8>>());
        assert_eq!(of([10, 0, 0, 0], 8), [0_u8; 0]);
        assert_eq!(of([192, 168, 12, 0], 24), [0_u8; 0]);
        assert_eq!(of([10, 255, 0, 0], 16), [0_u8; 0]);
    }
}
