use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use poa_core::{BuildContext, BuildError};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::CertificateFiles;

const YEARS: i32 = 10;

/// The certificate in the data directory, created if it is missing.
pub(super) fn in_data_dir(
    listen: SocketAddr,
    name: Option<&str>,
    cx: &BuildContext,
) -> Result<CertificateFiles, BuildError> {
    let file = |what| cx.data_dir().join(format!("{}.{what}.pem", cx.name()));
    let files = CertificateFiles { cert: file("cert"), key: file("key") };
    if !(files.cert.exists() && files.key.exists()) {
        let (cert, key) = make(listen, name).map_err(|error| {
            BuildError::failed("tls: cannot create a self-signed certificate").with_source(error)
        })?;
        // The certificate comes last: without it, an interrupted start creates both again.
        write(&files.key, &key)?;
        write(&files.cert, &cert)?;
    }
    Ok(files)
}

/// A certificate for this machine and its key, in PEM.
fn make(listen: SocketAddr, name: Option<&str>) -> Result<(String, String), rcgen::Error> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let address = (!listen.ip().is_unspecified()).then(|| listen.ip().to_string());
    for own in address.into_iter().chain(name.map(str::to_owned)) {
        if !names.contains(&own) {
            names.push(own);
        }
    }
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "poa, self-signed");
    let year = this_year();
    // A client whose clock is behind must not regard the certificate as not yet valid.
    params.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
    params.not_after = rcgen::date_time_ymd(year + YEARS, 1, 1);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// The year of the system clock, precise enough for a certificate.
fn this_year() -> i32 {
    const YEAR: u64 = 31_556_952;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    1970 + i32::try_from(since.as_secs() / YEAR).unwrap_or_default()
}

/// Writes a file that only its owner can read, atomically.
fn write(path: &Path, text: &str) -> Result<(), BuildError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| {
        let path = path.display();
        BuildError::failed(format!("tls: cannot write {path}; is the data directory writable?"))
            .with_source(error)
    })
}
