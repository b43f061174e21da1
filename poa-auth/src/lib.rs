//! Users, admins, tokens and the handler that manages them
