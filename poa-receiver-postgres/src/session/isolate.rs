//! Finds the rows that the database refuses.

use tokio_postgres::{Client, Error};

use super::{Statements, write};
use crate::encode::{Encoded, Rows};
use crate::error::Verdict;
use crate::refusals::{Reason, Refused};

/// The rows that are refused. Nothing is stored, and no transaction is left open.
///
/// Tries halves of halves in one transaction that is rolled back in the end: a row that is refused alone is the cause. Constraints
/// that are checked at the end of a transaction are checked with each row here, so that they identify their rows, too.
pub(super) async fn refused(
    client: &Client,
    statements: &Statements,
    rows: &Rows<'_>,
) -> Result<Vec<Refused>, Error> {
    let begin = statements.opening.with("SET CONSTRAINTS ALL IMMEDIATE");
    client.batch_execute(&begin).await?;
    let mut refused = Vec::new();
    let mut parts = vec![rows.all()];
    while let Some(part) = parts.pop() {
        let Some(error) = refusal(client, statements, rows, part).await? else { continue };
        match part {
            [row] => {
                refused.push(Refused {
                    item: row.item,
                    table: row.table,
                    reason: Reason::of(&error),
                });
            }
            _ => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
    }
    client.batch_execute("ROLLBACK").await?;
    Ok(refused)
}

/// The reason why these rows are refused; `None` if they are accepted.
async fn refusal(
    client: &Client,
    statements: &Statements,
    rows: &Rows<'_>,
    part: &[Encoded],
) -> Result<Option<Error>, Error> {
    client.batch_execute("SAVEPOINT part").await?;
    let Err(error) = write::some(client, statements, rows, part).await else { return Ok(None) };
    match Verdict::of(&error) {
        Verdict::Data | Verdict::Taken => {
            client.batch_execute("ROLLBACK TO SAVEPOINT part").await?;
            Ok(Some(error))
        }
        _ => Err(error),
    }
}
