//! Ends the processes of the demo when the demo itself ended without the time to do so, as by `kill -9`.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::failure::Failure;

/// Keeps a list of processes, and kills them at the end of its input.
const SCRIPT: &str = r#"ids=" "
while read -r what id; do
  case "$what" in
    +) ids="$ids$id " ;;
    -) ids="${ids%% "$id" *} ${ids#* "$id" }" ;;
  esac
done
for id in $ids; do kill -9 "$id" 2>/dev/null; done"#;

/// A shell that outlives the demo. Nothing else can act after a `kill -9`.
#[derive(Debug)]
pub(super) struct Guard(Mutex<Shell>);

#[derive(Debug)]
struct Shell {
    child: Child,
    input: Option<ChildStdin>,
}

impl Guard {
    pub(super) fn start() -> Result<Self, Failure> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null());
        // Not reached by Ctrl-C.
        let child = command.process_group(0).spawn();
        let mut child = child.map_err(|error| Failure::new("cannot run `sh`", error))?;
        let input = child.stdin.take();
        Ok(Self(Mutex::new(Shell { child, input })))
    }

    /// This process ends with the demo.
    pub(super) fn watch(&self, id: u32) {
        self.tell('+', id);
    }

    /// This process has ended: its id may soon be another's.
    pub(super) fn forget(&self, id: u32) {
        self.tell('-', id);
    }

    fn tell(&self, what: char, id: u32) {
        let mut shell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(input) = &mut shell.input {
            // Fails only when the shell was killed. The demo then works as before, and is less tidy.
            let _ = writeln!(input, "{what} {id}");
        }
    }

    /// Everything has ended in order.
    pub(super) fn dismiss(&self) {
        let mut shell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Killed before its input ends.
        let _ = shell.child.kill();
        shell.input = None;
        let _ = shell.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeping() -> Child {
        Command::new("sleep").arg("1000").spawn().unwrap()
    }

    #[test]
    fn what_it_watches_ends_with_its_input_and_nothing_else() {
        let guard = Guard::start().unwrap();
        let mut processes = [sleeping(), sleeping(), sleeping()];
        processes.iter().for_each(|process| guard.watch(process.id()));
        guard.forget(processes[1].id());
        let mut shell = guard.0.into_inner().unwrap();
        drop(shell.input.take());
        shell.child.wait().unwrap();
        assert!(!processes[0].wait().unwrap().success());
        assert!(!processes[2].wait().unwrap().success());
        assert!(processes[1].try_wait().unwrap().is_none());
        processes[1].kill().unwrap();
        processes[1].wait().unwrap();
    }
}
