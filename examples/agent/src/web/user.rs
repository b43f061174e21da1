//! Making users, which only an admin may.

use serde::Deserialize;

use super::tls::TlsError;
use super::{HttpClient, encode, post};
use crate::{BaseUrl, CallError, Config, Credentials, LoginError};

/// A user as the auth server made it.
#[derive(Deserialize)]
struct Made {
    #[serde(rename = "user-name")]
    name: String,
    password: String,
}

/// Asks the auth server at [`Config::auth`] for a user with a generated name and password that may send for any
/// agent (`POST /user`, POA Protocol, section 3). The credentials of `config` are those of an admin.
///
/// # Errors
/// See [`CallError`]; the outer error is for certificates that cannot be loaded.
pub async fn create_user(config: &Config) -> Result<Result<Credentials, CallError>, TlsError> {
    let client = HttpClient::new(config)?;
    Ok(ask(&client, &config.auth, &config.credentials).await)
}

async fn ask(
    client: &HttpClient,
    auth: &BaseUrl,
    admin: &Credentials,
) -> Result<Credentials, CallError> {
    let uri = auth.join("/user");
    let body = encode(&std::collections::BTreeMap::<&str, &str>::new());
    let answer = client.send(post(&uri, body, &admin.basic())).await?;
    if answer.is_unauthorized() {
        let refused = LoginError::Refused {
            url: uri.to_string(),
            user: admin.user().to_owned(),
            status: 401,
        };
        return Err(refused.into());
    }
    let made = serde_json::from_slice::<Made>(&answer.body);
    let (status, message) = (answer.status.as_u16(), answer.message());
    answer.into_outcome(|| format!("POST {uri}"))?;
    let made = made.ok().and_then(|made| Credentials::new(made.name, made.password).ok());
    made.ok_or_else(|| LoginError::Unexpected { url: uri.to_string(), status, message }.into())
}
