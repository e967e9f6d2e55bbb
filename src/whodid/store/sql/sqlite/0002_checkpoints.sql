-- What was signed, and how far witnesses are with it.

-- Truth, though kept outside this file too: an old copy of this file must not be able to hide what was signed.
CREATE TABLE checkpoint (
    account_no       INTEGER NOT NULL,
    standing         TEXT    NOT NULL,              -- signed, published
    size             INTEGER NOT NULL,
    note             TEXT    NOT NULL,              -- the signed note, cosignatures included
    PRIMARY KEY (account_no, standing)
) STRICT, WITHOUT ROWID;

-- What each witness said last; it can be asked again.
CREATE TABLE witness (
    account_no       INTEGER NOT NULL,
    witness          TEXT    NOT NULL,              -- the name of its key
    size             INTEGER NOT NULL,              -- of the newest checkpoint that it cosigned
    cosigned_ms      INTEGER,
    error            TEXT,                          -- why it did not cosign the last one; NULL if it did
    tried_ms         INTEGER NOT NULL,
    PRIMARY KEY (account_no, witness)
) STRICT, WITHOUT ROWID;
