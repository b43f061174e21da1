//! A child and its descendants as one process group.

/// The process group that a child leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group(#[cfg(unix)] rustix::process::Pid);

#[cfg(unix)]
impl Group {
    /// Makes the child the leader of its own process group, so that an interrupt on the terminal reaches the host
    /// alone.
    pub(crate) fn lead(command: &mut tokio::process::Command) {
        command.process_group(0);
    }

    /// The process group of a child that has just been started.
    pub(crate) fn of(child: &tokio::process::Child) -> Option<Self> {
        let id = i32::try_from(child.id()?).ok()?;
        rustix::process::Pid::from_raw(id).map(Self)
    }

    /// Sends SIGTERM to all of them.
    pub(crate) fn terminate(self) {
        self.send(rustix::process::Signal::TERM);
    }

    /// Kills all of them.
    pub(crate) fn kill(self) {
        self.send(rustix::process::Signal::KILL);
    }

    fn send(self, signal: rustix::process::Signal) {
        // This fails when no process is left, and then there is no more to do.
        let _ = rustix::process::kill_process_group(self.0, signal);
    }
}

#[cfg(not(unix))]
impl Group {
    pub(crate) fn lead(_: &mut tokio::process::Command) {}

    pub(crate) fn of(_: &tokio::process::Child) -> Option<Self> {
        None
    }

    pub(crate) fn terminate(self) {}

    pub(crate) fn kill(self) {}
}
