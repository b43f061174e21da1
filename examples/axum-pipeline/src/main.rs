//! Serves until Ctrl-C, then stops the host: `cargo run -p axum-pipeline -- http://127.0.0.1:8086/write?db=poa`, and in another window
//! `echo 'hits:1|c' | nc -u -w0 127.0.0.1 8125`.

use std::error::Error;

use axum_pipeline::Settings;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url =
        std::env::args().nth(1).ok_or("the first argument is the write address of InfluxDB")?;
    let settings = Settings {
        data_dir: "poa-data".into(),
        statsd: statsd::Config::default(),
        influx: influx::Config::new(url),
    };
    let (routes, host) = axum_pipeline::service(settings).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("StatsD on 127.0.0.1:8125; http://127.0.0.1:3000/status");
    let ctrl_c = async {
        // If the signal is not available, the service could not be stopped, so stop now.
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, routes).with_graceful_shutdown(ctrl_c).await?;
    host.stop().await;
    Ok(())
}
