-- What searching in every way needs. The terms of the table search are others from here on: all are made anew.

-- Truth. The oldest entry of the log that is still kept.
ALTER TABLE account ADD COLUMN kept_from INTEGER NOT NULL DEFAULT 0;

-- As before, but an _id leads to a number, which is shorter than a time_key.
CREATE TABLE record_id_by_seq (
    account_no       INTEGER NOT NULL,
    id               BLOB    NOT NULL,              -- 12 bytes
    seq              INTEGER NOT NULL,
    PRIMARY KEY (account_no, id)
) STRICT, WITHOUT ROWID;
INSERT INTO record_id_by_seq
SELECT r.account_no, r.id, e.seq FROM record_id r JOIN entry e ON e.time_key = r.time_key ORDER BY r.account_no, r.id;
DROP TABLE record_id;
ALTER TABLE record_id_by_seq RENAME TO record_id;

-- Derived from the records. How many there are of each hour, and of each hour and value of some fields.
CREATE TABLE tally (
    account_no       INTEGER NOT NULL,
    field            TEXT    NOT NULL,              -- type, action, scope, outcome; '' for all records
    hour             INTEGER NOT NULL,              -- createdAt in hours since 1970
    kind             INTEGER NOT NULL,              -- 1 action, 2 token use
    value            TEXT    NOT NULL,
    count            INTEGER NOT NULL,
    PRIMARY KEY (account_no, field, hour, kind, value)
) STRICT, WITHOUT ROWID;

-- Derived from the records. The words of every address that is in one; an address has but one term in search.
CREATE TABLE address_word (
    account_no       INTEGER NOT NULL,
    word             TEXT    NOT NULL,
    email            TEXT    NOT NULL,
    PRIMARY KEY (account_no, word, email)
) STRICT, WITHOUT ROWID;
