//! Finds the rows that the database refuses.

use tokio_postgres::{Client, Error};

use super::{Statements, write};
use crate::encode::{Encoded, Rows};
use crate::error::Verdict;

/// The items whose rows are refused. Nothing is stored, and no transaction is left open.
///
/// Tries halves of halves in one transaction that is rolled back in the end: what is refused alone is to blame. None is when only all
/// together are refused, as by a constraint that is checked at the end.
pub(super) async fn refused(
    client: &Client,
    statements: &Statements,
    rows: &Rows<'_>,
) -> Result<Vec<usize>, Error> {
    client.batch_execute("BEGIN").await?;
    let mut refused = Vec::new();
    let mut parts = vec![rows.all()];
    while let Some(part) = parts.pop() {
        if takes(client, statements, rows, part).await? {
            continue;
        }
        match part {
            [row] => refused.push(row.item),
            _ => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
    }
    client.batch_execute("ROLLBACK").await?;
    Ok(refused)
}

async fn takes(
    client: &Client,
    statements: &Statements,
    rows: &Rows<'_>,
    part: &[Encoded],
) -> Result<bool, Error> {
    client.batch_execute("SAVEPOINT part").await?;
    let Err(error) = write::some(client, statements, rows, part).await else { return Ok(true) };
    match Verdict::of(&error) {
        Verdict::Data | Verdict::Taken => {
            client.batch_execute("ROLLBACK TO SAVEPOINT part").await?;
            Ok(false)
        }
        _ => Err(error),
    }
}
