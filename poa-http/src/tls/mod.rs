//! The certificate of a listener.

mod files;
mod self_signed;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use poa_core::{BuildContext, BuildError};
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio_rustls::TlsAcceptor;

/// The certificate of a listener: `{ cert = "cert.pem", key = "key.pem" }`, or `"self-signed"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// A certificate from files.
    Files(CertificateFiles),
    /// A certificate that is created on the first start, for localhost and the address of the listener, and kept in the
    /// data directory as `<plugin>.cert.pem` and `<plugin>.key.pem`. It is valid for ten years; delete the files to get
    /// another.
    SelfSigned,
}

/// The paths of a certificate and its key. Relative paths start at the current directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate and its intermediate certificates, in PEM.
    pub cert: PathBuf,
    /// The private key, in PEM.
    pub key: PathBuf,
}

/// The keyword in a configuration.
const SELF_SIGNED: &str = "self-signed";

impl Tls {
    /// Reads or creates the certificate.
    pub(crate) fn acceptor(
        &self,
        listen: SocketAddr,
        name: Option<&str>,
        cx: &BuildContext,
    ) -> Result<TlsAcceptor, BuildError> {
        let made;
        let files = match self {
            Self::Files(files) => files,
            Self::SelfSigned => {
                made = self_signed::in_data_dir(listen, name, cx)?;
                &made
            }
        };
        let pair = files::read(files)?;
        let config =
            rustls::ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
                .with_protocol_versions(&[&TLS13, &TLS12])
                .and_then(|config| {
                    let (certificates, key) = (pair.0.clone(), pair.1.clone_key());
                    config.with_no_client_auth().with_single_cert(certificates, key)
                });
        let mut config = config.map_err(|error| files::do_not_fit(files, &pair, error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl Serialize for Tls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Files(files) => files.serialize(serializer),
            Self::SelfSigned => serializer.serialize_str(SELF_SIGNED),
        }
    }
}

impl<'de> Deserialize<'de> for Tls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// Distinguishes the two forms by hand, so that an error refers to the form that was meant.
struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = Tls;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#""self-signed" or { cert = "cert.pem", key = "key.pem" }"#)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Tls, E> {
        if text == SELF_SIGNED {
            Ok(Tls::SelfSigned)
        } else {
            Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Tls, A::Error> {
        CertificateFiles::deserialize(MapAccessDeserializer::new(map)).map(Tls::Files)
    }
}

impl JsonSchema for Tls {
    fn schema_name() -> Cow<'static, str> {
        "Tls".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The certificate of a listener: files, or \"self-signed\" for one created on the first start.",
            "oneOf": [
                { "const": SELF_SIGNED },
                generator.subschema_for::<CertificateFiles>(),
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: serde_json::Value) -> Result<Tls, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_both_forms() {
        assert_eq!(read(serde_json::json!("self-signed")), Ok(Tls::SelfSigned));
        let files = CertificateFiles { cert: "c.pem".into(), key: "k.pem".into() };
        let written = serde_json::json!({"cert": "c.pem", "key": "k.pem"});
        assert_eq!(read(written.clone()), Ok(Tls::Files(files.clone())));
        assert_eq!(serde_json::to_value(Tls::Files(files)).unwrap(), written);
    }

    #[test]
    fn errors_refer_to_the_form_that_was_meant() {
        let error = read(serde_json::json!("selfsigned")).unwrap_err();
        assert!(error.contains(r#"expected "self-signed" or { cert"#), "{error}");
        let error = read(serde_json::json!({"cert": "c.pem", "kee": "k.pem"})).unwrap_err();
        assert!(error.contains("unknown field `kee`"), "{error}");
        let error = read(serde_json::json!({"cert": "c.pem"})).unwrap_err();
        assert!(error.contains("missing field `key`"), "{error}");
    }
}
