//! Networks of this host from a document, without a server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use poa_leviathan::docker::Docker;
use poa_leviathan::document::HostDocument;
use poa_leviathan::engine::{Direction, Report};
use poa_leviathan::executor::{Claim, Netlink, Preflight};
use poa_leviathan::model::Wiring;
use poa_leviathan::plan::Plan;
use poa_leviathan::render::Style;
use poa_leviathan::resolver::{NamedNamespaces, Resolver};
use poa_leviathan::store::{MemoryStore, SqliteStore, Store};
use poa_leviathan::{Error, Leviathan, Options};

use crate::cli::{self, Networks};
use crate::failure::Failure;
use crate::output::{aside, say};

/// How long Docker may take for one answer.
const DOCKER: Duration = Duration::from_secs(10);

/// Does it. Returns the exit code: 0, or 1 when some network is not where it should be.
pub(crate) async fn leviathan(command: cli::Leviathan) -> Result<u8, Failure> {
    match command {
        cli::Leviathan::Up(networks) => up(&networks).await,
        cli::Leviathan::Down(networks) => down(&networks).await,
        cli::Leviathan::Status(networks) => status(&networks).await,
        cli::Leviathan::Plan { networks, down, commands } => {
            let direction = if down { Direction::Down } else { Direction::Up };
            plan(&networks, direction, commands).await
        }
    }
}

async fn up(networks: &Networks) -> Result<u8, Failure> {
    let document = read(&networks.file)?;
    let _claim = claim()?;
    let leviathan = open(networks, true)?;
    let cens: Vec<String> = document.cens.cens.iter().map(|cen| cen.id.to_string()).collect();
    let cins: Vec<String> = document.cins.cins.keys().map(ToString::to_string).collect();
    leviathan.import_cens(document.cens).await.map_err(failed)?;
    leviathan.import_cins(document.cins).await.map_err(failed)?;
    let made = leviathan.make(&cens, &cins).await.map_err(failed)?.wait().await;
    let lost = tell("CEN", "up", &made.cens);
    if lost == 0 {
        for (container, address) in addresses(&leviathan, &cins) {
            say(format_args!("{container} {address}"));
        }
    }
    Ok(u8::from(lost + tell("CIN", "up", &made.cins) > 0))
}

async fn down(networks: &Networks) -> Result<u8, Failure> {
    let document = read(&networks.file)?;
    let _claim = claim()?;
    let leviathan = open(networks, true)?;
    let model = leviathan.model();
    let cins = document.cins.cins.keys().filter(|cin| model.cins().contains_key(*cin));
    let cins: Vec<String> = cins.map(ToString::to_string).collect();
    let cens = document.cens.cens.iter().filter(|cen| model.cens().contains_key(&cen.id));
    let cens: Vec<String> = cens.map(|cen| cen.id.to_string()).collect();
    let gone = leviathan.destroy_cins(&cins).await.map_err(failed)?.wait().await;
    if tell("CIN", "down", &gone) > 0 {
        return Ok(1);
    }
    let gone = leviathan.destroy_cens(&cens).await.map_err(failed)?.wait().await;
    Ok(u8::from(tell("CEN", "down", &gone) > 0))
}

async fn status(networks: &Networks) -> Result<u8, Failure> {
    let document = read(&networks.file)?;
    let leviathan = open(networks, false)?;
    let model = leviathan.model();
    for cen in &document.cens.cens {
        let status = model.cens().get(&cen.id).map_or("not known", |cen| cen.status().as_str());
        say(format_args!("CEN {} {status}", cen.id));
    }
    for cin in document.cins.cins.keys() {
        let status = model.cins().get(cin).map_or("not known", |cin| cin.status().as_str());
        say(format_args!("CIN {cin} {status}"));
    }
    let plan = leviathan.preview(&document, Direction::Up).await.map_err(failed)?;
    for (cen, error) in &plan.refused {
        say(format_args!("CEN {cen}: {error}"));
    }
    for operation in &plan.operations {
        say(format_args!("missing: {operation}"));
    }
    Ok(u8::from(!plan.is_empty() || !plan.refused.is_empty()))
}

async fn plan(networks: &Networks, direction: Direction, commands: bool) -> Result<u8, Failure> {
    let document = read(&networks.file)?;
    let leviathan = open(networks, false)?;
    let plan = leviathan.preview(&document, direction).await.map_err(failed)?;
    let style = Style::Iproute { host: networks.host.clone() };
    for operation in &plan.operations {
        if commands {
            style.commands(operation).iter().for_each(say);
        } else {
            say(operation);
        }
    }
    let mark = if commands { "# " } else { "" };
    explain(&plan, mark);
    Ok(u8::from(!plan.refused.is_empty()))
}

/// Prints the consequences of a plan: interrupted containers and CENs that cannot be made.
fn explain(plan: &Plan, mark: &str) {
    let interrupted: Vec<&str> = plan.interrupted().into_iter().map(|id| id.as_str()).collect();
    if !interrupted.is_empty() {
        say(format_args!("{mark}interrupts the traffic of: {}", interrupted.join(", ")));
    }
    for (cen, error) in &plan.refused {
        say(format_args!("{mark}CEN {cen} cannot be made: {error}"));
    }
    if plan.operations.is_empty() && plan.refused.is_empty() {
        say(format_args!("{mark}nothing to do"));
    }
}

fn read(file: &Path) -> Result<HostDocument, Failure> {
    let what = || file.display().to_string();
    let text = std::fs::read(file).map_err(|error| Failure::new(what(), error))?;
    HostDocument::parse(&text).map_err(|error| Failure::new(what(), error))
}

fn claim() -> Result<Claim, Failure> {
    let preflight = Preflight::look();
    preflight.require_capabilities().map_err(failed)?;
    for warning in preflight.warnings() {
        tracing::warn!("{warning}");
    }
    Claim::take().map_err(failed)
}

/// Opens the definitions of these networks. A command that only looks makes no file.
fn open(networks: &Networks, changes: bool) -> Result<Leviathan, Failure> {
    let file = match &networks.data_dir {
        Some(directory) if !directory.is_dir() => {
            let why = format!(
                "{} is not a directory; name the data directory of a server",
                directory.display()
            );
            return Err(Failure::because(why));
        }
        Some(directory) => directory.join("leviathan.db"),
        None => beside(&networks.file),
    };
    let store: Box<dyn Store> = if changes || file.exists() {
        Box::new(SqliteStore::open(&file).map_err(Failure::because)?)
    } else {
        Box::new(MemoryStore::default())
    };
    let wiring = if networks.auto_wiring { Wiring::Auto } else { Wiring::AlwaysBus };
    let options = Options { host: networks.host.clone(), wiring, ..Options::default() };
    let executor = Arc::new(Netlink::new(&networks.host, resolver(networks)));
    Leviathan::open(options, executor, store).map_err(Failure::because)
}

fn resolver(networks: &Networks) -> Arc<dyn Resolver> {
    match networks.resolver {
        cli::Resolver::Netns => Arc::new(NamedNamespaces::new(&networks.netns_dir)),
        cli::Resolver::Docker => Arc::new(Docker::new(&networks.docker_socket, DOCKER)),
    }
}

/// `lab.json` becomes `lab.leviathan.db`.
fn beside(file: &Path) -> PathBuf {
    file.with_extension("leviathan.db")
}

/// Prints what became of networks; how many failed.
fn tell(kind: &str, place: &str, report: &Report) -> usize {
    for id in &report.done {
        say(format_args!("{kind} {id} {place}"));
    }
    for failed in &report.failed {
        aside(format_args!("poa-server: {kind} {}: {}", failed.id, failed.error));
    }
    report.failed.len()
}

/// The containers of CINs and their addresses.
fn addresses(leviathan: &Leviathan, cins: &[String]) -> Vec<(String, String)> {
    let model = leviathan.model();
    let known = model.cins().keys().filter(|id| cins.iter().any(|cin| cin == id.as_str()));
    let addresses = known.flat_map(|id| model.addresses(id));
    addresses.map(|address| (address.container.to_string(), address.ip.to_string())).collect()
}

fn failed(error: Error) -> Failure {
    Failure::because(error)
}
