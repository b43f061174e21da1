//! A cluster on this machine: NATS servers, two front ends, two receiver nodes and a fleet. Any process of it may be killed.

mod agents;
mod guard;
mod layout;
mod member;
mod program;
mod text;
mod view;

use std::path::Path;
use std::sync::Arc;

use poa_host::told_to_stop;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use agents::Agents;
use guard::Guard;
use layout::Layout;
use member::{Event, Member, Role};
use view::View;

use crate::cli::Demo;
use crate::failure::Failure;
use crate::output::say;
use crate::serve::signals;

/// How many events may wait to be printed. Who writes one waits for room.
const EVENTS: usize = 64;

/// Runs until a signal ends it. Returns the exit code.
pub(super) async fn demo(options: &Demo, servers: u16) -> Result<u8, Failure> {
    let mut signals = signals()?;
    let program = program::find(options.nats_server.as_deref()).await?;
    let layout = Layout::new(&options.data_dir, options.listen_base, servers)?;
    let mut cluster = tokio::select! {
        cluster = Cluster::start(&layout, &program) => cluster?,
        _ = told_to_stop(&mut signals) => return Ok(0),
    };
    let before = view::rows(&layout).await;
    let mut agents = tokio::select! {
        agents = Agents::start(&layout, options.agents) => agents?,
        _ = told_to_stop(&mut signals) => return Ok(0),
    };
    say(text::explain(&layout, &cluster.processes, agents.count()));
    cluster.spawn_view(View::new(&layout, agents.monitors()));
    tokio::select! {
        () = cluster.report() => {}
        _ = told_to_stop(&mut signals) => {}
    }
    say(
        "\nending the fleet, the front ends, the receivers and the servers; press Ctrl-C again to exit now",
    );
    let orderly = async {
        let acknowledged = agents.finish().await;
        cluster.stop().await;
        let stored = view::rows(&layout).await.saturating_sub(before);
        say(text::farewell(acknowledged, stored, &layout.rows()));
    };
    tokio::select! {
        () = orderly => {}
        _ = told_to_stop(&mut signals) => {}
    }
    Ok(0)
}

/// The processes that run. Dropping this kills them.
struct Cluster {
    /// The process of each member when everything was ready.
    processes: Vec<(String, u32)>,
    /// In the order in which they stop, so that each finds those that it needs.
    layers: [Layer; 3],
    view: JoinSet<()>,
    send: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    guard: Arc<Guard>,
}

/// The members of one role.
struct Layer {
    role: Role,
    members: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Cluster {
    async fn start(layout: &Layout, program: &Path) -> Result<Self, Failure> {
        let (send, events) = mpsc::channel(EVENTS);
        let layer = |role| Layer { role, members: JoinSet::new(), stop: watch::Sender::new(false) };
        let mut cluster = Self {
            processes: Vec::new(),
            layers: [Role::FrontEnd, Role::Receivers, Role::Server].map(layer),
            view: JoinSet::new(),
            send,
            events,
            guard: Arc::new(Guard::start()?),
        };
        let mut servers = Vec::new();
        for server in 0..layout.servers() {
            servers.push(Member::start(layout.server(server, program)?, &cluster.guard)?);
        }
        for (number, server) in servers.iter_mut().enumerate() {
            server.until_healthy(layout.monitor(number)).await?;
        }
        for server in servers {
            cluster.keep(server);
        }
        // One after the other: the first creates the stream.
        for name in layout.nodes() {
            let mut node = Member::start(layout.node(name)?, &cluster.guard)?;
            node.until_ready().await?;
            cluster.keep(node);
        }
        Ok(cluster)
    }

    /// Starts a member again whenever it ends, from now on.
    fn keep(&mut self, member: Member) {
        self.processes.push((member.name().to_owned(), member.id()));
        let role = member.role();
        if let Some(layer) = self.layers.iter_mut().find(|layer| layer.role == role) {
            let stop = layer.stop.subscribe();
            layer.members.spawn(member.keep(stop, self.send.clone(), self.guard.clone()));
        }
    }

    fn spawn_view(&mut self, view: View) {
        self.view.spawn(view.run(self.send.clone()));
    }

    /// Prints what happens. Never returns; cancel safe.
    async fn report(&mut self) {
        while let Some(event) = self.events.recv().await {
            say(event);
        }
    }

    /// Stops the members, one layer after the other.
    async fn stop(mut self) {
        self.view.abort_all();
        // From here on, an end is expected.
        self.events.close();
        for layer in self.layers {
            // Fails only when the layer has no members.
            let _ = layer.stop.send(true);
            layer.members.join_all().await;
        }
        self.guard.dismiss();
    }
}
