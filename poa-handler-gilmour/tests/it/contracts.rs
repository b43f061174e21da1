//! The suites that every handler and every receiver passes.

use std::sync::Arc;

use parking_lot::Mutex;
use poa_gilmour::{Call, Data, Gilmour, Message, Options, RedisEngine, Topic};
use poa_handler_gilmour::{GilmourGateway, GilmourReceiver};
use poa_testkit::{handler_contract, handler_factory, receiver_contract};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::support::{ask, read};

/// The part of a message that the program needs: its data may have numbers that no value holds.
#[derive(serde::Deserialize)]
struct Stored {
    id: String,
}

/// Registers a node that is healthy as long as this runs, and sends a signal by it.
async fn send(endpoints: &[String]) -> bool {
    let Some(address) = endpoints.first().map(|endpoint| endpoint.trim_start_matches("http://"))
    else {
        return false;
    };
    if tokio::net::TcpStream::connect(address).await.is_err() {
        return false;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let healthy = async {
        loop {
            if let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await;
            }
        }
    };
    let sending = async {
        let (status, node) =
            try_ask(address, "/nodes", &json!({"port": port, "name": "pump-7"})).await?;
        let id = (status == 201).then(|| node["id"].as_str().map(str::to_owned))??;
        let signal = json!({"topic": "metrics", "message": {"cpu_load": 1.5}});
        let (_, answer) = try_ask(address, &format!("/signal/{id}"), &signal).await?;
        Some(answer["status"] == 0)
    };
    tokio::select! {
        sent = sending => sent.unwrap_or(false),
        () = healthy => false,
    }
}

/// Nothing where the connection breaks.
async fn try_ask(address: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    tokio::net::TcpStream::connect(address).await.ok()?;
    let body = body.to_string();
    let asked = std::panic::AssertUnwindSafe(ask(address, "POST", path, &[], &body));
    futures_util::FutureExt::catch_unwind(asked).await.ok()
}

#[tokio::test]
async fn the_gateway_keeps_the_contract_of_handlers() {
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let mut config = read("signals = [{ topic = \"metrics\", data_type = \"system_metrics\" }]");
    config.listen = ([127, 0, 0, 1], port).into();
    handler_contract(handler_factory::<GilmourGateway>(config), async |endpoints| {
        send(endpoints).await
    })
    .await;
}

#[tokio::test]
async fn the_receiver_keeps_the_contract_of_receivers() {
    let server = poa_test_redis::Server::new();
    let engine = RedisEngine::new(&server.url(), Options::default()).unwrap();
    engine.connect(std::time::Duration::from_secs(60)).await.unwrap();
    let gilmour = Gilmour::new(engine);
    let stored: Arc<Mutex<Vec<String>>> = Arc::default();
    let into = stored.clone();
    let _store = gilmour
        .reply(&Topic::new("store").unwrap(), move |call: Call| {
            let into = into.clone();
            async move {
                let Stored { id } = call.data.read().unwrap();
                let mut stored = into.lock();
                // By its id, as a program stores that wants each message once.
                if !stored.contains(&id) {
                    stored.push(id);
                }
                Message::ok(Data::null())
            }
        })
        .await
        .unwrap();
    let config = format!("topic = \"store\"\nengine = \"redis\"\nurl = \"{}\"", server.url());
    let factory =
        poa_testkit::receiver_factory::<GilmourReceiver>(toml::from_str(&config).unwrap());
    receiver_contract(factory, async || {
        let mut ids = stored.lock().clone();
        ids.sort();
        ids
    })
    .await;
}
