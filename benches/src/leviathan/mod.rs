//! Container networks: made by the library, by the same netlink messages sent bare, and by `ip` commands.
//!
//! Everything happens in a user, network and mount namespace of its own, so that no privilege is needed. Containers are named namespaces.

mod bare;
mod lab;

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use poa_leviathan::document::HostDocument;
use poa_leviathan::engine::Direction;
use poa_leviathan::executor::Netlink;
use poa_leviathan::render::Style;
use poa_leviathan::resolver::NamedNamespaces;
use poa_leviathan::store::{MemoryStore, SqliteStore, Store};
use poa_leviathan::{Leviathan, Options};
use serde_json::{Value, json};

use crate::Failure;
use crate::report::{median, table};

use bare::Bare;
use lab::{Pair, containers, delete_links, ip, name, prepare};

/// Set in the process inside.
const INSIDE: &str = "POA_BENCH_LEVIATHAN_INSIDE";
/// CENs of two members that are made at once, and how often.
const CENS: usize = 40;
const ROUNDS: usize = 9;
/// The members of the network whose first answer is waited for.
const MEMBERS: [usize; 3] = [2, 10, 100];
/// The containers of the memory that is measured, and how many a CEN has: a bridge has 1,023 ports.
const MANY: usize = 1000;
const PER_CEN: usize = 100;

pub(crate) fn run() -> Result<(), Failure> {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(inside());
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--"]);
    command.arg(std::env::current_exe()?).arg("leviathan").env(INSIDE, "1");
    let status = command.status().map_err(|error| format!("cannot run `unshare`: {error}"))?;
    if status.success() { Ok(()) } else { Err("the process inside failed".into()) }
}

async fn inside() -> Result<(), Failure> {
    prepare()?;
    containers(0..MEMBERS[2])?;
    rates().await?;
    first_answers().await?;
    memory().await
}

/// The definition of CENs of so many members each, from the first container on, and of a CIN over each if asked for.
fn document(cens: usize, members: usize, with_cins: bool) -> Value {
    let member = |cen: usize| (0..members).map(move |at| name(cen * members + at));
    let list: Vec<Value> = (0..cens)
        .map(|cen| json!({"cenID": format!("n{cen}"), "containerIDs": member(cen).collect::<Vec<_>>()}))
        .collect();
    let cins = (0..cens)
        .filter(|_| with_cins)
        .map(|cen| (format!("net{cen}"), json!([format!("n{cen}")])));
    json!({"cenList": list, "cins": cins.collect::<serde_json::Map<_, _>>()})
}

fn parse(document: &Value) -> Result<HostDocument, Failure> {
    Ok(HostDocument::parse(document.to_string().as_bytes())?)
}

fn open(store: Box<dyn Store>) -> Result<Leviathan, Failure> {
    let netlink = Arc::new(Netlink::new("host1", Arc::new(NamedNamespaces::default())));
    Ok(Leviathan::open(Options::default(), netlink, store)?)
}

/// How CENs and CINs are asked for.
#[derive(Clone, Copy)]
enum Requests {
    /// All at once, as `poa-server leviathan up` does.
    One,
    /// First the CENs, then the CINs, as the routes do.
    Two,
}

/// Makes everything of a document. Returns the time from the first request to the last report.
async fn make(
    leviathan: &Leviathan,
    document: &HostDocument,
    requests: Requests,
) -> Result<Duration, Failure> {
    let cens: Vec<String> = document.cens.cens.iter().map(|cen| cen.id.to_string()).collect();
    let cins: Vec<String> = document.cins.cins.keys().map(ToString::to_string).collect();
    leviathan.import_cens(document.cens.clone()).await?;
    leviathan.import_cins(document.cins.clone()).await?;
    let begin = Instant::now();
    let (made, addressed) = match requests {
        Requests::One => {
            let made = leviathan.make(&cens, &cins).await?.wait().await;
            (made.cens, made.cins)
        }
        Requests::Two => {
            let made = leviathan.make_cens(&cens).await?.wait().await;
            (made, leviathan.make_cins(&cins).await?.wait().await)
        }
    };
    let took = begin.elapsed();
    let failed = made.failed.into_iter().chain(addressed.failed).next();
    failed.map_or(Ok(took), |failed| Err(failed.error.into()))
}

async fn destroy(leviathan: &Leviathan) -> Result<(), Failure> {
    let model = leviathan.model();
    for cin in model.cins().keys() {
        leviathan.delete_cin(cin.as_str()).await?;
    }
    for cen in model.cens().keys() {
        leviathan.delete_cen(cen.as_str()).await?;
    }
    Ok(())
}

/// The commands that make a document.
async fn commands(document: &HostDocument) -> Result<Vec<String>, Failure> {
    let plan = open(Box::new(MemoryStore::default()))?.preview(document, Direction::Up).await?;
    let style = Style::Iproute { host: "host1".to_owned() };
    Ok(plan.operations.iter().flat_map(|operation| style.commands(operation)).collect())
}

fn by_commands(commands: &[String]) -> Result<Duration, Failure> {
    let begin = Instant::now();
    for command in commands {
        ip(command.strip_prefix("ip ").unwrap_or(command))?;
    }
    Ok(begin.elapsed())
}

/// CENs made per second. The three ways take turns.
async fn rates() -> Result<(), Failure> {
    let document = parse(&document(CENS, 2, false))?;
    let commands = commands(&document).await?;
    let directory = tempfile::tempdir()?;
    let (mut ours, mut bare, mut shell) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let file = directory.path().join(format!("{round}.db"));
        let leviathan = open(Box::new(SqliteStore::open(&file)?))?;
        ours.push(make(&leviathan, &document, Requests::One).await?.as_secs_f64());
        destroy(&leviathan).await?;
        bare.push(Bare::cens(CENS, 2)?.as_secs_f64());
        delete_links(CENS)?;
        shell.push(by_commands(&commands)?.as_secs_f64());
        delete_links(CENS)?;
    }
    println!(
        "### CENs made per second, {CENS} of two members in one request, medians of {ROUNDS} rounds\n"
    );
    let ratio = |others: &[f64]| {
        let ratios = others.iter().zip(&ours).map(|(other, ours)| other / ours);
        format!("{:.2}", median(ratios.collect()))
    };
    let rate = |times: &[f64]| format!("{:.0}", CENS as f64 / median(times.to_vec()));
    table(
        &["poa-leviathan, durable", "bare netlink", "`ip` commands", "of bare netlink", "of `ip`"],
        &[vec![rate(&ours), rate(&bare), rate(&shell), ratio(&bare), ratio(&shell)]],
    );
    Ok(())
}

/// From the request to the first answer of another container.
async fn first_answers() -> Result<(), Failure> {
    let mut rows = Vec::new();
    for members in MEMBERS {
        let document = parse(&document(1, members, true))?;
        let commands = commands(&document).await?;
        let directory = tempfile::tempdir()?;
        let (mut ours, mut bare, mut shell) = ([Vec::new(), Vec::new()], Vec::new(), Vec::new());
        let mut target = Ipv4Addr::UNSPECIFIED;
        for round in 0..ROUNDS {
            for (times, requests) in ours.iter_mut().zip([Requests::One, Requests::Two]) {
                let pair = Pair::open()?;
                let file = directory.path().join(format!("{round}-{}.db", requests as u8));
                let leviathan = open(Box::new(SqliteStore::open(&file)?))?;
                let took = make(&leviathan, &document, requests).await?;
                target = last_address(&leviathan);
                times.push((took + pair.answer(target)?).as_secs_f64());
                // The next pair has the same ports.
                drop(pair);
                destroy(&leviathan).await?;
            }

            let pair = Pair::open()?;
            let took = Bare::network(members)?;
            bare.push((took + pair.answer(bare::address(1))?).as_secs_f64());
            drop(pair);
            delete_links(1)?;

            let pair = Pair::open()?;
            let took = by_commands(&commands)?;
            shell.push((took + pair.answer(target)?).as_secs_f64());
            delete_links(1)?;
        }
        let ratio = |others: &[f64], ours: &[f64]| {
            let ratios = others.iter().zip(ours).map(|(other, ours)| other / ours);
            format!("{:.2}", median(ratios.collect()))
        };
        let time = |times: &[f64]| format!("{:.1}", median(times.to_vec()) * 1e3);
        let [one, two] = &ours;
        let times = [time(one), time(two), time(&bare), time(&shell)];
        let ratios = [ratio(&bare, one), ratio(&bare, two), ratio(&shell, one)];
        rows.push([&[members.to_string()][..], &times, &ratios].concat());
    }
    println!(
        "### From the request to the first answer of another container, ms, medians of {ROUNDS} rounds\n"
    );
    table(
        &[
            "containers",
            "poa-leviathan, durable, one request",
            "two requests",
            "bare netlink",
            "`ip` commands",
            "of bare netlink",
            "two requests",
            "of `ip`",
        ],
        &rows,
    );
    Ok(())
}

/// The address of the second container in the only CIN.
fn last_address(leviathan: &Leviathan) -> Ipv4Addr {
    let model = leviathan.model();
    let mut addresses = model.cins().keys().flat_map(|cin| model.addresses(cin));
    let second = addresses.find(|address| address.container.as_str() == name(1));
    second.map_or(Ipv4Addr::UNSPECIFIED, |address| address.ip)
}

/// The memory of this process with many containers on the host.
async fn memory() -> Result<(), Failure> {
    containers(MEMBERS[2]..MANY)?;
    let document = parse(&document(MANY / PER_CEN, PER_CEN, true))?;
    let before = crate::process::resident()?;
    let directory = tempfile::tempdir()?;
    let leviathan = open(Box::new(SqliteStore::open(&directory.path().join("many.db"))?))?;
    let took = make(&leviathan, &document, Requests::One).await?;
    let begin = Instant::now();
    leviathan.reconcile().await;
    let pass = begin.elapsed();
    let after = crate::process::resident()?;
    println!("### {MANY} containers in {} CENs under as many CINs\n", MANY / PER_CEN);
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    table(
        &["memory before, MiB", "with them, MiB", "made in, s", "compared with the host in, s"],
        &[vec![
            mib(before),
            mib(after),
            format!("{:.2}", took.as_secs_f64()),
            format!("{:.2}", pass.as_secs_f64()),
        ]],
    );
    destroy(&leviathan).await
}
