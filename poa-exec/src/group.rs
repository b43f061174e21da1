//! The child and whatever it started, as one.

/// The processes that a child leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group(#[cfg(unix)] rustix::process::Pid);

#[cfg(unix)]
impl Group {
    /// Makes the child the leader of a group of its own, so that an interrupt on the terminal reaches the host alone.
    pub(crate) fn lead(command: &mut tokio::process::Command) {
        command.process_group(0);
    }

    /// The group of a child that has just been started.
    pub(crate) fn of(child: &tokio::process::Child) -> Option<Self> {
        let id = i32::try_from(child.id()?).ok()?;
        rustix::process::Pid::from_raw(id).map(Self)
    }

    /// Asks all of them to end.
    pub(crate) fn terminate(self) {
        self.send(rustix::process::Signal::TERM);
    }

    /// Ends all of them.
    pub(crate) fn kill(self) {
        self.send(rustix::process::Signal::KILL);
    }

    fn send(self, signal: rustix::process::Signal) {
        // It fails when nobody is left, and then there is nothing to do.
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
