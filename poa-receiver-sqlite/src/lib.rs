//! Stores messages in an SQLite database
