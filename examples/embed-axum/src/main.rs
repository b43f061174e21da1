//! Serves until Ctrl-C, then stops the host, which delivers the accepted messages.

use std::error::Error;
use std::path::Path;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (routes, host) = embed_axum::service(Path::new("poa-data")).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("try: curl --json '{{\"celsius\":21.5}}' http://127.0.0.1:3000/readings/kitchen");
    let ctrl_c = async {
        // If the signal is not available, the service could not be stopped, so stop now.
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, routes).with_graceful_shutdown(ctrl_c).await?;
    host.stop().await;
    Ok(())
}
