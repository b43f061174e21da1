use std::net::{SocketAddr, TcpStream};

use poa_core::BuildContext;
use poa_http::{Limits, Listeners, Server};

use crate::support::any_port;

fn bind(listeners: &Listeners, name: &str, addr: SocketAddr) -> Result<Server, String> {
    let cx = BuildContext::detached(name, std::env::temp_dir()).with_resource(listeners.clone());
    Server::bind(addr, None, Limits::default(), &cx).map_err(|error| error.to_string())
}

fn connects(addr: SocketAddr) -> bool {
    TcpStream::connect(addr).is_ok()
}

#[tokio::test]
async fn an_address_stays_open_between_two_hosts() {
    let listeners = Listeners::default();
    let first = bind(&listeners, "rest", any_port()).unwrap();
    let at = first.local_addr();
    listeners.keep_open();
    drop(first);
    assert!(connects(at));
    let second = bind(&listeners, "rest", any_port()).unwrap();
    assert_eq!(second.local_addr(), at, "port 0 keeps the assigned port");
    listeners.close_unused();
    assert!(connects(at));
}

#[tokio::test]
async fn two_plugins_of_a_host_cannot_have_one_address() {
    let listeners = Listeners::default();
    let rest = bind(&listeners, "rest", any_port()).unwrap();
    let refused = bind(&listeners, "ws", rest.local_addr()).unwrap_err();
    assert!(refused.contains("address already in use; is another server running?"), "{refused}");
    // Nor if both ask for any port.
    assert_ne!(bind(&listeners, "ws", any_port()).unwrap().local_addr(), rest.local_addr());
}

#[tokio::test]
async fn one_plugin_may_listen_twice() {
    let listeners = Listeners::default();
    let both = || [(); 2].map(|()| bind(&listeners, "rest", any_port()).unwrap());
    let addresses = |servers: &[Server; 2]| servers.each_ref().map(Server::local_addr);
    let servers = both();
    let first = addresses(&servers);
    assert_ne!(first[0], first[1]);
    let refused = bind(&listeners, "rest", first[0]).unwrap_err();
    assert!(refused.contains("address already in use"), "{refused}");
    listeners.keep_open();
    drop(servers);
    assert_eq!(addresses(&both()), first);
}

#[tokio::test]
async fn the_next_host_may_give_an_address_to_another_plugin() {
    let listeners = Listeners::default();
    let free = bind(&Listeners::default(), "nobody", any_port()).unwrap().local_addr();
    let rest = bind(&listeners, "rest", free).unwrap();
    listeners.keep_open();
    drop(rest);
    let ws = bind(&listeners, "ws", free).unwrap();
    assert_eq!(ws.local_addr(), free);
    assert!(bind(&listeners, "rest", free).is_err(), "it is in use now");
}

#[tokio::test]
async fn the_next_host_may_listen_on_all_addresses_instead_of_one() {
    let listeners = Listeners::default();
    listeners.keep_open();
    let one = bind(&listeners, "rest", any_port()).unwrap().local_addr();
    let all = SocketAddr::from(([0, 0, 0, 0], one.port()));
    let server = bind(&listeners, "rest", all).unwrap();
    listeners.close_unused();
    assert_eq!(server.local_addr(), all);
    assert!(connects(one));
}

#[tokio::test]
async fn sockets_that_are_no_longer_requested_are_closed() {
    let listeners = Listeners::default();
    let servers = ["rest", "ws"].map(|name| bind(&listeners, name, any_port()).unwrap());
    let [kept, left] = servers.each_ref().map(Server::local_addr);
    listeners.keep_open();
    drop(servers);
    assert!(connects(kept) && connects(left));
    let rest = bind(&listeners, "rest", any_port()).unwrap();
    listeners.close_unused();
    assert!(connects(kept) && !connects(left));
    drop(rest);
    assert!(!connects(kept), "only a host that is replaced keeps its addresses");
}
