//! PostgreSQL: the installed programs, or Debian's package.

use std::env;

use poa_test_postgres::{Cluster, ClusterError, Programs, Setup};

use super::{Service, debian};
use crate::run::Failure;

/// Names the server that the tests share.
pub(super) const VARIABLE: &str = "POA_TEST_POSTGRES";
/// Names the directory of the programs, for tests that start a server of their own.
const PROGRAMS: &str = "POA_TEST_POSTGRES_BIN";

const CURE: &str = "install PostgreSQL 13 or newer (Debian: `apt-get install postgresql`), name the directory of its programs in \
    POA_TEST_POSTGRES_BIN, or the URL of a server that tests may fill in POA_TEST_POSTGRES";

const BOUNCER: &str = "install PgBouncer (Debian: `apt-get install pgbouncer`)";

/// A server on a free port of the loopback, gone with this process. Nothing in it outlives it, so it does not wait for the disk.
pub(super) fn start() -> Result<Service, Failure> {
    if let Err(ClusterError::NoPrograms) = Programs::find() {
        let unavailable = |why| Failure::unavailable("PostgreSQL", why, CURE);
        debian::install("postgresql").map_err(unavailable)?;
    }
    if poa_test_postgres::bouncer_program().is_err() {
        let unavailable = |why| Failure::unavailable("PgBouncer", why, BOUNCER);
        debian::install("pgbouncer").map_err(unavailable)?;
    }
    let cluster = Cluster::start(Setup::default().tcp().set("max_connections=200"))
        .map_err(|error| unavailable(&error))?;
    let service = Service::new().tell(PROGRAMS, cluster.programs().directory());
    Ok(service.tell(VARIABLE, cluster.url("postgres")).keep(cluster))
}

fn unavailable(error: &ClusterError) -> Failure {
    let cause =
        std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let path = env::var_os(PROGRAMS)
        .map(|dir| format!(" ({PROGRAMS} is {})", dir.display()))
        .unwrap_or_default();
    Failure::unavailable("PostgreSQL", format!("{error}{cause}{path}"), CURE)
}
