//! The SDK's client, configured so that only this receiver retries requests.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use poa_core::BuildError;

use crate::Config;
use crate::error::Place;

/// The time limit for a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// Creates a client, and names its endpoint. Does not connect; without a region or credentials in the configuration it
/// asks the environment, the AWS profile and the machine.
///
/// # Errors
/// When no region is known.
pub(crate) async fn client(config: &Config) -> Result<(Client, Place), BuildError> {
    let attempt = config.request_timeout.get();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT.min(attempt))
        .operation_attempt_timeout(attempt)
        .operation_timeout(attempt);
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts.build());
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &config.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let (Some(id), Some(secret)) = (&config.access_key_id, &config.secret_access_key) {
        let key = Credentials::from_keys(id, secret.expose(), None);
        loader = loader.credentials_provider(key);
    }
    let shared = loader.load().await;
    let Some(region) = shared.region() else {
        let message = "no AWS region is known; set `region`, or AWS_REGION in the environment";
        return Err(BuildError::failed(message));
    };
    let place = shared.endpoint_url().map_or_else(|| region.as_ref().into(), Into::into);
    Ok((Client::new(&shared), place))
}
