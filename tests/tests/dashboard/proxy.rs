//! A proxy that has the page elsewhere than at the root.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// The path of the page.
pub(crate) const PLACE: &str = "/status/agents";

/// Serves what is at this address below [`PLACE`]; the address of the proxy.
pub(crate) async fn start(server: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass_on(client, server.clone()));
        }
    });
    address
}

/// Passes on one request, and what comes after its head.
async fn pass_on(mut client: TcpStream, server: String) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?.replacen(PLACE, "", 1);
    // A second request over this connection would not be looked at.
    let head = head.replace("Connection: keep-alive", "Connection: close");
    let mut server = TcpStream::connect(server).await.ok()?;
    server.write_all(head.as_bytes()).await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}
