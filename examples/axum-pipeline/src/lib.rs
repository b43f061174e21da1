//! An axum service that collects StatsD samples and stores them in InfluxDB, through a poa host on its own runtime.
//!
//! The host does what such a service would otherwise need to do: samples survive a crash and an outage of InfluxDB in the log of the
//! host, batches are retried with backoff, and refused points go to the dead letters. The service has three routes of its own:
//! `/health`, `/metrics` for Prometheus, and `/status`.

use std::path::PathBuf;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use influx::InfluxReceiver;
use poa_core::{Ack, Host, HostHandle, ReceiverOptions, StartError};
use poa_engine_local::{Log, LogConfig};
use statsd::Statsd;

/// The settings of the service.
#[derive(Debug)]
pub struct Settings {
    /// The directory of the log.
    pub data_dir: PathBuf,
    /// The StatsD handler.
    pub statsd: statsd::Config,
    /// The InfluxDB receiver.
    pub influx: influx::Config,
}

/// Starts a host on this runtime, and returns it with the routes that use it. Stop the host when the service has ended.
///
/// # Errors
/// When the host does not start: a port in use, a data directory that cannot be written.
pub async fn service(settings: Settings) -> Result<(Router, Host), StartError> {
    let Settings { data_dir, statsd, influx } = settings;
    let data_type = statsd.data_type.clone();
    let host = Host::builder()
        .data_dir(data_dir)
        .data_types([data_type.clone()])
        .engine::<Log>("log", LogConfig::default())
        .ack(Ack::Stored)
        .handler::<Statsd>("statsd", statsd)
        .receiver::<InfluxReceiver>("influx", ReceiverOptions::subscribe([data_type]), influx)
        .start()
        .await?;
    let routes = Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(host.handle());
    Ok((routes, host))
}

async fn health(State(host): State<HostHandle>) -> StatusCode {
    if host.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn metrics(State(host): State<HostHandle>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, poa_core::telemetry::CONTENT_TYPE)], host.metrics())
}

async fn status(State(host): State<HostHandle>) -> impl IntoResponse {
    axum::Json(host.status())
}
