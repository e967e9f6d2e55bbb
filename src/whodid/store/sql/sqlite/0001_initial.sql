-- The embedded store. Never edited once landed: a change is a new numbered file.

-- Truth. An account and the head of its log: how many entries, and the roots of the complete subtrees over them.
CREATE TABLE account (
    account_no       INTEGER PRIMARY KEY,
    name             TEXT    NOT NULL UNIQUE,
    created_ms       INTEGER NOT NULL,
    size             INTEGER NOT NULL DEFAULT 0,
    frontier         BLOB    NOT NULL DEFAULT x'',
    identity_version INTEGER NOT NULL DEFAULT 0     -- counts changes of users and tokens
) STRICT;

-- Truth. One row an event. time_key is createdAt in milliseconds << 21, plus a tie-breaker in order of appending.
CREATE TABLE entry (
    time_key         INTEGER PRIMARY KEY,
    account_no       INTEGER NOT NULL,
    seq              INTEGER NOT NULL,
    kind             INTEGER NOT NULL,              -- 1 action, 2 token use
    dictionary       INTEGER NOT NULL,              -- the version that record is compressed with
    salt             BLOB    NOT NULL,              -- 16 bytes
    commitment       BLOB    NOT NULL,              -- 32 bytes: SHA-256("whodid/v1\n" + salt + record)
    record           BLOB    NOT NULL               -- the wire bytes, one zstd frame without magic number
) STRICT;
CREATE UNIQUE INDEX entry_seq ON entry (account_no, seq);

-- Derived from the records; but it is what keeps an _id from being recorded twice, so it is kept as truth is.
CREATE TABLE record_id (
    account_no       INTEGER NOT NULL,
    id               BLOB    NOT NULL,              -- 12 bytes
    time_key         INTEGER NOT NULL,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;

-- Truth (proofs need it after records are gone). The root of each complete block of 256^level leaves.
CREATE TABLE block_root (
    account_no       INTEGER NOT NULL,
    level            INTEGER NOT NULL,
    position         INTEGER NOT NULL,
    root             BLOB    NOT NULL,              -- 32 bytes
    PRIMARY KEY (account_no, level, position)
) STRICT, WITHOUT ROWID;

-- Truth: without its dictionary a record can't be read.
CREATE TABLE dictionary (
    version          INTEGER PRIMARY KEY,
    entries          INTEGER NOT NULL,              -- how many entries the store had when it was trained
    bytes            BLOB    NOT NULL
) STRICT;

-- Truth.
CREATE TABLE user (
    account_no       INTEGER NOT NULL,
    id               BLOB    NOT NULL,              -- 12 bytes
    email            TEXT    NOT NULL,
    email_folded     TEXT    NOT NULL,              -- for comparing: addresses are unique whatever their case
    name             TEXT    NOT NULL,
    role             TEXT    NOT NULL,
    active           INTEGER NOT NULL,
    created_ms       INTEGER NOT NULL,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX user_email ON user (account_no, email_folded);

-- Truth. Of a token's text only its SHA-256 is kept.
CREATE TABLE token (
    account_no       INTEGER NOT NULL,
    id               BLOB    NOT NULL,              -- 12 bytes
    user_id          BLOB    NOT NULL,
    name             TEXT    NOT NULL,
    scope            TEXT    NOT NULL,
    digest           BLOB    NOT NULL UNIQUE,       -- 32 bytes
    created_ms       INTEGER NOT NULL,
    expires_ms       INTEGER NOT NULL,
    expired_ms       INTEGER,                       -- when its owner expired it; NULL if not
    PRIMARY KEY (account_no, id),
    FOREIGN KEY (account_no, user_id) REFERENCES user (account_no, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX token_name ON token (account_no, user_id, name) WHERE expired_ms IS NULL;

-- Derived from the records, see search.py for its terms and its making; 'whodid verify-store --rebuild-search'.
CREATE VIRTUAL TABLE search USING fts5 (
    terms, content='', detail=none, columnsize=0,
    tokenize="ascii tokenchars '!""#$%&''()*+,-./:;<=>?@[\]^_`{|}~'"
);
