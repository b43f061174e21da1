use poa_core::BuildContext;
use poa_http::{Limits, Server};
use tokio_util::sync::CancellationToken;

use crate::support::{any_port, soon, start};

fn bind(addr: &str) -> Result<Server, String> {
    let cx = BuildContext::detached("test", std::env::temp_dir());
    let addr: std::net::SocketAddr = addr.parse().unwrap();
    Server::bind(addr, None, Limits::default(), &cx).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_port_in_use_is_reported_with_the_cure() {
    let taken = std::net::TcpListener::bind(any_port()).unwrap();
    let addr = taken.local_addr().unwrap();
    assert_eq!(
        bind(&addr.to_string()).unwrap_err(),
        format!(
            "cannot listen on {addr}: address already in use; is another server running? \
             choose another port with `listen`"
        )
    );
}

#[tokio::test]
async fn an_address_of_another_machine_is_reported_with_the_cure() {
    let error = bind("192.0.2.1:4002").unwrap_err();
    assert_eq!(
        error,
        "cannot listen on 192.0.2.1:4002: this machine has no such address; \
         name one of its own with `listen`, or 0.0.0.0 for all of them"
    );
}

#[tokio::test]
async fn a_restart_finds_its_port_free() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    assert_eq!(client.post("/echo", "x").await.status, 200);
    server.shutdown.cancel();
    soon(server.task).await.unwrap();
    // The server closed first, so its end of the connection is in TIME_WAIT.
    assert_eq!(client.end().await, "");
    bind(&server.addr.to_string()).unwrap();
}

#[tokio::test]
async fn reports_the_address_it_listens_on() {
    let server = bind("[::1]:0").unwrap();
    assert_ne!(server.local_addr().port(), 0);
    assert_eq!(server.endpoint(), format!("http://[::1]:{}", server.local_addr().port()));
}

#[tokio::test]
async fn a_server_that_never_served_frees_its_port() {
    let server = bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().to_string();
    drop(server);
    let again = bind(&addr).unwrap();
    let stopped = CancellationToken::new();
    stopped.cancel();
    let service = hyper::service::service_fn(async |_| {
        Ok::<_, std::convert::Infallible>(hyper::Response::new(http_body_util::Empty::new()))
    });
    soon(again.serve(service, stopped)).await;
    bind(&addr).unwrap();
}
