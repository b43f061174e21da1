//! The tables poa stores messages in: which row of which table a message becomes.
