//! Stand-in containers, two segments, a network over each, and pings between them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::CURE;
use crate::failure::Failure;
use crate::output::say;

/// The containers: named network namespaces.
const CONTAINERS: [&str; 5] = ["web1", "web2", "web3", "db1", "db2"];
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A `/run` of its own, and the containers in it.
pub(super) async fn prepare() -> Result<(), Failure> {
    run("mount", &["-t", "tmpfs", "tmpfs", "/run"]).await?;
    run("ip", &["link", "set", "lo", "up"]).await?;
    for container in CONTAINERS {
        run("ip", &["netns", "add", container]).await?;
    }
    Ok(())
}

async fn run(program: &str, args: &[&str]) -> Result<(), Failure> {
    let output = Command::new(program).args(args).output().await;
    let output = output
        .map_err(|error| Failure::new(format_args!("cannot run `{program}`"), error).and(CURE))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    let line = format_args!("{program} {}: {}", args.join(" "), why.trim());
    Err(Failure::because(line).and(CURE))
}

/// Makes networks by the interface that users have, and pings.
pub(super) async fn show(address: &str) -> Result<(), Failure> {
    let segments = json!({"cenList": [
        {"cenID": "front", "containerIDs": ["web1", "web2", "web3"]},
        {"cenID": "back", "containerIDs": ["db1", "db2", "web3"]},
    ]});
    post(address, "/cen/import", &segments).await?;
    post(address, "/cin/import", &json!({"shop": ["front"], "data": ["back"]})).await?;
    post(address, "/cen/make?wait=true", &json!(["front", "back"])).await?;
    post(address, "/cin/make?wait=true", &json!(["shop", "data"])).await?;
    say("\nTwo segments on bridges, and a network over each:\n");
    for network in ["shop", "data"] {
        let cin = ask(address, "GET", &format!("/cin/{network}"), "").await?;
        say(format_args!("  {network:6} {}", members(&cin).join(", ")));
    }
    let web3 = ask(address, "GET", "/cin/data", "").await?;
    let web3 = address_of(&web3, "web3");
    let shop = ask(address, "GET", "/cin/shop", "").await?;
    say("\nPings between them:\n");
    for (from, to, ip) in [
        ("web1", "web2", address_of(&shop, "web2")),
        ("web1", "the bridge of front", "10.11.0.1".to_owned()),
        ("db1", "web3, which is in both", web3),
        ("db1", "web1, which is in the other network", address_of(&shop, "web1")),
    ] {
        let reached = if pings(from, &ip).await { "reached" } else { "not reached" };
        say(format_args!("  {from} to {to}, {ip}: {reached}"));
    }
    Ok(())
}

fn members(cin: &Value) -> Vec<String> {
    let containers = cin["conts"].as_array().into_iter().flatten();
    let names = containers.filter_map(|container| container["contID"].as_str());
    names.map(|name| format!("{name} {}", address_of(cin, name))).collect()
}

/// The address of a container in a CIN; empty if it has none.
fn address_of(cin: &Value, name: &str) -> String {
    let mut containers = cin["conts"].as_array().into_iter().flatten();
    let found = containers.find(|container| container["contID"] == name);
    let entry = found.and_then(|container| container["addressing"].as_object()?.values().next());
    entry.and_then(|entry| entry["ip"].as_str()).unwrap_or_default().to_owned()
}

async fn pings(from: &str, to: &str) -> bool {
    let mut ping = Command::new("ip");
    ping.args(["netns", "exec", from, "ping", "-c1", "-W1", to]).kill_on_drop(true);
    ping.output().await.is_ok_and(|output| output.status.success())
}

async fn post(address: &str, path: &str, body: &Value) -> Result<Value, Failure> {
    let report = ask(address, "POST", path, &body.to_string()).await?;
    match report["failed"].as_array().and_then(|failed| failed.first()) {
        Some(failed) => Err(Failure::because(format_args!("{}", failed["message"]))),
        None => Ok(report),
    }
}

/// One request on a connection of its own. The JSON of the answer, or null if it has none.
async fn ask(address: &str, method: &str, path: &str, body: &str) -> Result<Value, Failure> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        let request = format!("{head}content-length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<String, std::io::Error>(answer)
    };
    let lost = || Failure::because(format_args!("{method} {path}: no answer"));
    let answer = tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| lost())?;
    let answer = answer.map_err(|error| Failure::new(format_args!("{method} {path}"), error))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(lost)?;
    let is_good = head.split(' ').nth(1).is_some_and(|status| status.starts_with('2'));
    if !is_good {
        return Err(Failure::because(format_args!("{method} {path}: {body}")));
    }
    Ok(serde_json::from_str(body).unwrap_or_default())
}

/// Commands to try from another shell.
pub(super) fn explain(at: &str) -> String {
    format!(
        r#"
See them at  http://{at}/leviathan/

Try it from another shell:

  curl -sS http://{at}/cens
  curl -sS http://{at}/cin/shop
  curl -sS -X DELETE http://{at}/host/host1/web3/back
  curl -sS -X PUT http://{at}/host/host1/db2/front
  curl -sS -d '["data"]' 'http://{at}/cin/destroy?wait=true'
  curl -sS -d '["back"]' 'http://{at}/cen/destroy?wait=true'

The containers are {}; all of it is in namespaces of this process. Ctrl-C ends it, and everything is gone."#,
        CONTAINERS.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_named_with_their_addresses() {
        let cin = json!({"conts": [{"contID": "a", "addressing": {"lan": {"ip": "10.10.0.10"}}}]});
        assert_eq!(members(&cin), ["a 10.10.0.10"]);
        assert_eq!(address_of(&cin, "b"), "");
    }
}
