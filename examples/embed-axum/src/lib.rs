//! A poa host inside an axum service, on the service's own runtime.
//!
//! `POST /readings/{sensor}` sends a reading to the host, which keeps it in its log and delivers it to every receiver;
//! `GET /readings/{sensor}` returns the last one delivered. The receiver has ten lines; a bundled one, such as
//! `poa-receiver-sqlite`, needs one more call of `receiver`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::RwLock;
use poa_core::{
    Ack, AgentId, BuildContext, BuildError, DeliveryError, Draft, Host, HostHandle, Message,
    Payload, Plugin, Receiver, ReceiverOptions, StartError, async_trait,
};
use serde_json::{Map, Value};

const READINGS: &str = "readings";

/// The last reading of every sensor, as it was sent.
#[derive(Clone, Debug, Default)]
struct Latest(Arc<RwLock<HashMap<String, Payload>>>);

#[async_trait]
impl Plugin for Latest {
    type Config = ();

    async fn build(_: (), cx: &BuildContext) -> Result<Self, BuildError> {
        // The state shared by the service and the plugin is a resource of the host.
        cx.resource().cloned().ok_or_else(|| BuildError::failed("the host has no `Latest`"))
    }
}

#[async_trait]
impl Receiver for Latest {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let readings = batch.iter().map(|m| (m.agent_id().to_string(), m.payload().clone()));
        self.0.write().extend(readings);
        Ok(())
    }
}

/// Starts a host on this runtime, and returns it with the routes that use it. Stop the host when the service has ended.
///
/// # Errors
/// When the host does not start.
pub async fn service(data_dir: &Path) -> Result<(Router, Host), StartError> {
    let latest = Latest::default();
    let host = Host::builder()
        .data_dir(data_dir)
        .data_types([READINGS])
        .engine::<poa_engine_local::Log>("log", Default::default())
        .ack(Ack::Delivered)
        .resource(latest.clone())
        .receiver::<Latest>("latest", ReceiverOptions::subscribe([READINGS]), ())
        .start()
        .await?;
    let routes = Router::new()
        .route("/readings/{sensor}", post(take).get(show))
        .with_state((host.handle(), latest));
    Ok((routes, host))
}

type Shared = State<(HostHandle, Latest)>;

async fn take(
    State((host, _)): Shared,
    UrlPath(sensor): UrlPath<String>,
    Json(reading): Json<Map<String, Value>>,
) -> Result<StatusCode, (StatusCode, String)> {
    let bad = |error: String| (StatusCode::UNPROCESSABLE_ENTITY, error);
    let busy = |error: String| (StatusCode::SERVICE_UNAVAILABLE, error);
    let sensor = AgentId::new(sensor).map_err(|error| bad(error.to_string()))?;
    let reading = Payload::json(&reading).map_err(|error| bad(error.to_string()))?;
    let types = host.data_types();
    let data_type = types.get(READINGS).ok_or_else(|| busy("no data type".to_owned()))?.clone();
    let receipt = host.send_to_receivers(Draft::new(sensor, data_type, reading));
    receipt.map_err(|error| busy(error.to_string()))?.await.map_err(|e| busy(e.to_string()))?;
    Ok(StatusCode::CREATED)
}

async fn show(
    State((_, latest)): Shared,
    UrlPath(sensor): UrlPath<String>,
) -> Result<Json<Value>, StatusCode> {
    let reading = latest.0.read().get(&sensor).cloned().ok_or(StatusCode::NOT_FOUND)?;
    reading.read().map(Json).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}
