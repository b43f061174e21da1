-- Times named *_at are microseconds since 1970-01-01 UTC, others seconds.
CREATE TABLE users (
    name          TEXT PRIMARY KEY NOT NULL,
    password_hash TEXT NOT NULL,
    agent_id      TEXT,
    active        INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    tokens_since  INTEGER NOT NULL -- tokens issued before this second do not count
) STRICT, WITHOUT ROWID;

CREATE TABLE deleted_users (
    name     TEXT PRIMARY KEY NOT NULL,
    last_iat INTEGER NOT NULL -- no token of the deleted user was issued after this second
) STRICT, WITHOUT ROWID;

CREATE TABLE banned_tokens (
    fingerprint TEXT PRIMARY KEY NOT NULL, -- the beginning of the token's signature
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
