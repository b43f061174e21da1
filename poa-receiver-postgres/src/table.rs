//! The tables by name.

/// A table of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// How many columns there are in all.
    pub(crate) const fn width(self) -> i16 {
        match self {
            Self::Eth => 11,
            Self::System | Self::Metrics => 6,
        }
    }
}

/// The table of the agents' states.
pub(crate) const ACTIVITY: &str = "agent_activity";
/// The table with the version of the others.
pub(crate) const VERSION: &str = "poa_version";

/// Makes names of tables, qualified and quoted.
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

    /// The name of a table as it stands in a statement.
    pub(crate) fn of(&self, table: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.bare(table)))
    }

    /// What all tables in the same schema have in common, whatever their prefix.
    pub(crate) fn schema_lock(&self) -> String {
        format!("poa {}", self.quoted_schema())
    }

    /// What no other tables of poa in the same database have in common.
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
            assert_eq!(
                table.columns().split(", ").count() + 3,
                usize::try_from(table.width()).unwrap()
            );
        }
    }
}
