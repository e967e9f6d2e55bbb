-- The store for many servers. Never edited once landed: a change is a new numbered file.
--
-- Every table with an account's data leads with account_no in its primary key, and every statement on the way of an
-- append or a page asks for it: so Citus can distribute by it, and each commit stays on one shard.

-- Truth. Which accounts there are.
CREATE TABLE account (
    account_no       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name             text   NOT NULL UNIQUE,
    created_ms       bigint NOT NULL
);

-- Truth. The head of an account's log. Whoever appends has it locked until the commit: so numbers have no gaps.
CREATE TABLE head (
    account_no       bigint NOT NULL PRIMARY KEY,
    size             bigint NOT NULL DEFAULT 0,
    frontier         bytea  NOT NULL DEFAULT '',     -- the roots of the complete subtrees, the smallest first
    identity_version bigint NOT NULL DEFAULT 0       -- counts changes of users and tokens
);

-- Truth. One row an event; by the time of recording, so that what is old can be dropped as a whole. The columns after
-- record are derived from it, for searching.
CREATE TABLE entry (
    account_no       bigint   NOT NULL,
    seq              bigint   NOT NULL,
    recorded_ms      bigint   NOT NULL,              -- when it was appended, by the server's clock
    created_ms       bigint   NOT NULL,
    kind             smallint NOT NULL,              -- 1 action, 2 token use
    salt             bytea    NOT NULL,              -- 16 bytes
    commitment       bytea    NOT NULL,              -- 32 bytes: SHA-256("whodid/v1\n" + salt + record)
    record           bytea    NOT NULL,              -- the wire bytes
    type             bytea,                          -- of actions; values are UTF-8, and may hold any character
    action           bytea,
    user_id          bytea    NOT NULL,
    user_email       bytea,
    target_id        bytea,
    token_id         bytea,                          -- of token uses
    scope            bytea,
    outcome          bytea,
    ip_address       bytea,
    PRIMARY KEY (account_no, seq, recorded_ms)
) PARTITION BY RANGE (recorded_ms);
CREATE INDEX entry_newest ON entry (account_no, kind, created_ms, seq);
CREATE INDEX entry_type   ON entry (account_no, type, created_ms, seq) WHERE type IS NOT NULL;
CREATE INDEX entry_scope  ON entry (account_no, scope, created_ms, seq) WHERE scope IS NOT NULL;

-- Derived from the records; but it is what keeps an _id from being recorded twice, so it is kept as truth is.
CREATE TABLE record_id (
    account_no       bigint NOT NULL,
    id               bytea  NOT NULL,                -- 12 bytes
    seq              bigint NOT NULL,
    recorded_ms      bigint NOT NULL,                -- of the entry: says which partition it is in
    PRIMARY KEY (account_no, id)
);

-- Truth (proofs need it after records are gone). The root of each complete block of 256^level leaves.
CREATE TABLE block_root (
    account_no       bigint   NOT NULL,
    level            smallint NOT NULL,
    position         bigint   NOT NULL,
    root             bytea    NOT NULL,              -- 32 bytes
    PRIMARY KEY (account_no, level, position)
);

-- Truth.
CREATE TABLE "user" (
    account_no       bigint  NOT NULL,
    id               bytea   NOT NULL,
    email            text    NOT NULL,
    email_folded     text    NOT NULL,               -- for comparing: addresses are unique whatever their case
    name             text    NOT NULL,
    role             text    NOT NULL,
    active           boolean NOT NULL,
    created_ms       bigint  NOT NULL,
    PRIMARY KEY (account_no, id),
    UNIQUE (account_no, email_folded)
);

-- Truth. Of a token's text only its SHA-256 is kept.
CREATE TABLE token (
    account_no       bigint NOT NULL,
    id               bytea  NOT NULL,
    user_id          bytea  NOT NULL,
    name             text   NOT NULL,
    scope            text   NOT NULL,
    digest           bytea  NOT NULL,                -- 32 bytes
    created_ms       bigint NOT NULL,
    expires_ms       bigint NOT NULL,
    expired_ms       bigint,                         -- when its owner expired it; NULL if not
    PRIMARY KEY (account_no, id),
    FOREIGN KEY (account_no, user_id) REFERENCES "user" (account_no, id)
);
CREATE UNIQUE INDEX token_name ON token (account_no, user_id, name) WHERE expired_ms IS NULL;

-- Derived from token: which account a token is of, before anything is known of who calls.
CREATE TABLE token_digest (
    digest           bytea  NOT NULL PRIMARY KEY,
    account_no       bigint NOT NULL
);

-- Truth. What was signed, and how far witnesses are with it.
CREATE TABLE checkpoint (
    account_no       bigint NOT NULL,
    standing         text   NOT NULL,                -- signed, published
    size             bigint NOT NULL,
    note             text   NOT NULL,                -- the signed note, cosignatures included
    PRIMARY KEY (account_no, standing)
);

CREATE TABLE witness (
    account_no       bigint NOT NULL,
    witness          text   NOT NULL,                -- the name of its key
    size             bigint NOT NULL,                -- of the newest checkpoint that it cosigned
    cosigned_ms      bigint,
    error            text,                           -- why it did not cosign the last one; NULL if it did
    tried_ms         bigint NOT NULL,
    PRIMARY KEY (account_no, witness)
);
