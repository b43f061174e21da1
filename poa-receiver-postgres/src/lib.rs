//! Stores messages in a PostgreSQL database.
