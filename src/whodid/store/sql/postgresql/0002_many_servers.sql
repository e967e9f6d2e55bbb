-- What many servers of one database must agree on.

-- Truth. The public key whose private half signs the logs: all servers must have the same one. No row: none has signed.
CREATE TABLE signing_key (
    only_row         boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    public_key       bytea NOT NULL                  -- 32 bytes, Ed25519
);

-- Derived. What one server at a time does for all of them, which one, and until when.
CREATE TABLE lease (
    work             text        NOT NULL PRIMARY KEY,
    holder           bytea       NOT NULL,
    until            timestamptz NOT NULL
);
