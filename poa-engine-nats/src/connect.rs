//! From a configuration to a connection that was shown to keep its promises.

use async_nats::ConnectOptions;
use parking_lot::RwLock;
use poa_core::{BuildContext, BuildError};

use crate::bucket::Bucket;
use crate::cluster::{Cluster, Levels, Settings};
use crate::config::Config;
use crate::contact::Contact;
use crate::deliveries::Deliveries;
use crate::mirror::Mirror;
use crate::names::Names;
use crate::{layout, node, prove};

/// Connects, proves, and sets up the stream and the buckets.
pub(crate) async fn cluster(config: Config, cx: &BuildContext) -> Result<Cluster, BuildError> {
    let contact = connect(&config).await?;
    prove::prove(&contact, &config).await?;
    let names = Names::new(&config.prefix, config.partitions);
    layout::prepare(&contact, &config, &names, cx.bus().keys).await?;
    let receivers = Bucket::new(contact.clone(), names.receivers());
    Ok(Cluster {
        mirror: Mirror::new(receivers.clone()),
        receivers,
        contact,
        names,
        types: cx.data_types().clone(),
        bus: cx.bus().clone(),
        settings: settings(&config, cx)?,
        deliveries: Deliveries::default(),
        levels: RwLock::new(Levels::default()),
        registry: RwLock::new(Vec::new().into()),
        each: RwLock::default(),
        running: RwLock::default(),
    })
}

fn settings(config: &Config, cx: &BuildContext) -> Result<Settings, BuildError> {
    let node = config.node.clone().map_or_else(|| node::name(cx.data_dir()), Ok)?;
    Ok(Settings {
        node,
        ack_timeout: config.ack_timeout.get(),
        store_timeout: config.store_timeout.get(),
        lease: config.lease.get(),
        max_bytes: config.max_bytes.get(),
        max_in_memory: usize::try_from(config.max_in_memory.get()).unwrap_or(usize::MAX),
    })
}

/// Opens a connection as the configuration says, for the engine and for commands.
pub(crate) async fn connect(config: &Config) -> Result<Contact, BuildError> {
    let mut options = ConnectOptions::new().name("poa");
    if let Some(path) = &config.credentials {
        let read = options.credentials_file(path).await;
        options = read.map_err(|error| {
            BuildError::failed(format!("cannot read the credentials {}", path.display()))
                .with_source(error)
        })?;
    }
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    if let Some(token) = &config.token {
        options = options.token(token.expose().to_owned());
    }
    options = with_tls(options, config);
    Contact::open(options, &config.servers).await.map_err(|error| {
        let servers = config.servers.join(", ");
        BuildError::unavailable(format!(
            "no NATS server at {servers} takes a connection; start them, or correct `servers` in [bus.nats]"
        ))
        .with_source(error)
    })
}

/// The same with the files for TLS.
pub(crate) fn with_tls(mut options: ConnectOptions, config: &Config) -> ConnectOptions {
    let Some(tls) = &config.tls else { return options };
    if let Some(ca) = &tls.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    options.require_tls(true)
}
