-- Tokens as they were issued, for lists. A token that is not here is valid all the same.
CREATE TABLE tokens (
    id         TEXT PRIMARY KEY NOT NULL, -- the beginning of the token's signature, as in banned_tokens
    user_name  TEXT NOT NULL,
    issued_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    address    TEXT                       -- where the login came from, if that is known
) STRICT, WITHOUT ROWID;

CREATE INDEX tokens_of_user ON tokens (user_name, issued_at);
CREATE INDEX tokens_by_expiry ON tokens (expires_at);
