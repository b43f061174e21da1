//! Debian's packages.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// apt allows one of itself at a time, and services are started side by side.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Installs a package. A fresh machine may not know yet which there are, so the lists are brought up to date if need be.
///
/// # Errors
/// Why it cannot be installed.
pub(super) fn install(package: &str) -> Result<(), String> {
    let _lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    eprintln!("xtask: {package} is not installed; trying apt-get");
    let install = ["install", "--yes", "--no-install-recommends", package];
    apt_get(&install).or_else(|_| {
        apt_get(&["update"])?;
        apt_get(&install)
    })
}

/// Unpacks the files of a package into a directory. Nothing is installed or started, and packages that it depends on are left out.
///
/// # Errors
/// Why it cannot be unpacked.
pub(super) fn unpack(package: &str, dir: &Path) -> Result<(), String> {
    let _lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    eprintln!("xtask: {package} is not installed; trying apt-get download");
    let download = || apt_get_in(dir, &["download", package]);
    download().or_else(|_| {
        apt_get(&["update"])?;
        download()
    })?;
    let unpacked = |error: std::io::Error| error.to_string();
    for file in std::fs::read_dir(dir).map_err(unpacked)? {
        let file = file.map_err(unpacked)?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            succeed(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(dir))?;
            std::fs::remove_file(&file).map_err(unpacked)?;
        }
    }
    Ok(())
}

fn apt_get(args: &[&str]) -> Result<(), String> {
    apt_get_in(Path::new("/"), args)
}

fn apt_get_in(dir: &Path, args: &[&str]) -> Result<(), String> {
    let mut apt = Command::new("apt-get");
    apt.args(args).env("DEBIAN_FRONTEND", "noninteractive").current_dir(dir);
    succeed(&mut apt).map_err(|why| format!("{why}; it has to be run as root"))
}

/// Sees to it that a program is there, and installs the package that has it if need be.
///
/// # Errors
/// Why it is not there.
pub(super) fn need(program: &str, package: &str) -> Result<(), String> {
    let works = || succeed(Command::new(program).arg("--version"));
    works().or_else(|_| install(package).and_then(|()| works()))
}

/// Runs a command; why it did not succeed. What it prints must not mix with what the caller prints.
pub(super) fn succeed(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}").replace('"', "");
    match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` ended with {status}")),
        Err(error) => Err(format!("`{shown}` cannot be run: {error}")),
    }
}
