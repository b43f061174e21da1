//! The tables and their names.

/// A table of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    Eth,
    System,
    Metrics,
}

impl Table {
    pub(crate) const ALL: [Self; 3] = [Self::Eth, Self::System, Self::Metrics];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Eth => "eth_stats",
            Self::System => "system_stats",
            Self::Metrics => "metrics",
        }
    }

    /// The columns in the order in which they are written, after `message_id`, `date` and `agent_id`.
    pub(crate) const fn columns(self) -> &'static str {
        match self {
            Self::Eth => {
                "active, mining, hashrate, peers, gas_price, current_block, highest_block, starting_block"
            }
            Self::System => "cpu_load, disk_usage, memory_usage",
            Self::Metrics => "type, body, data_type",
        }
    }

    /// The columns after `message_id`, `date` and `agent_id` as they are created, each with its type by the name that PostgreSQL
    /// shows.
    pub(crate) const fn definition(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Eth => &[
                ("active", "boolean"),
                ("mining", "boolean"),
                ("hashrate", "numeric"),
                ("peers", "bigint"),
                ("gas_price", "numeric"),
                ("current_block", "text"),
                ("highest_block", "text"),
                ("starting_block", "text"),
            ],
            Self::System => &[
                ("cpu_load", "double precision"),
                ("disk_usage", "double precision"),
                ("memory_usage", "double precision"),
            ],
            Self::Metrics => &[("data_type", "text"), ("type", "text"), ("body", "jsonb")],
        }
    }

    /// The total number of columns.
    pub(crate) const fn width(self) -> i16 {
        match self {
            Self::Eth => 11,
            Self::System | Self::Metrics => 6,
        }
    }
}

/// The first columns of each table of messages.
pub(crate) const KEY: [(&str, &str); 3] =
    [("message_id", "uuid"), ("date", "timestamp with time zone"), ("agent_id", "text")];
/// The table of the agents' states.
pub(crate) const ACTIVITY: &str = "agent_activity";
/// Its columns.
pub(crate) const ACTIVITY_COLUMNS: [(&str, &str); 3] =
    [("agent_id", "text"), ("active", "boolean"), ("since", "timestamp with time zone")];
/// The table with the version of the others.
pub(crate) const VERSION: &str = "poa_version";

/// Whether a table of messages has a column of this name that this receiver created.
pub(crate) fn is_own_column(name: &str) -> bool {
    let own = Table::ALL.into_iter().flat_map(Table::definition);
    KEY.iter().chain(own).any(|(column, _)| *column == name)
}

/// Generates names of tables, qualified and quoted.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    schema: String,
    prefix: String,
}

impl Names {
    pub(crate) fn new(schema: &str, prefix: &str) -> Self {
        Self { schema: schema.to_owned(), prefix: prefix.to_owned() }
    }

    /// The schema, not quoted.
    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// The schema, quoted.
    pub(crate) fn quoted_schema(&self) -> String {
        quoted(&self.schema)
    }

    /// The name of a table without its schema, not quoted.
    pub(crate) fn bare(&self, table: &str) -> String {
        format!("{}{table}", self.prefix)
    }

    /// The name of a table, quoted for a statement.
    pub(crate) fn of(&self, table: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.bare(table)))
    }

    /// The name of a table or an index without its schema, quoted for a statement.
    pub(crate) fn quoted(&self, table: &str) -> String {
        quoted(&self.bare(table))
    }

    /// A key that all tables in the same schema have in common, whatever their prefix.
    pub(crate) fn schema_lock(&self) -> String {
        format!("poa {}", self.quoted_schema())
    }

    /// A key that no other tables of poa in the same database have.
    pub(crate) fn lock(&self) -> String {
        format!("poa {}", self.of(""))
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        let names = Names::new("My \"schema\"", "poa's ");
        assert_eq!(names.of("metrics"), r#""My ""schema""".""#.to_owned() + r#"poa's metrics""#);
    }

    #[test]
    fn widths_agree_with_columns() {
        for table in Table::ALL {
            let width = usize::try_from(table.width()).unwrap();
            assert_eq!(table.columns().split(", ").count() + KEY.len(), width);
            assert_eq!(table.definition().len() + KEY.len(), width);
        }
    }
}
