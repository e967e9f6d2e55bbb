-- Searching by any field and by free words, and counting by the hour. The entries that are there already are carried
-- along by filling.py, in the same transaction.

-- In the order in which an append locks them: whoever appends ends first, and then nobody else begins.
LOCK TABLE head, entry IN ACCESS EXCLUSIVE MODE;

-- Derived from record: what it is searched by, beside type and scope. Each lexeme is the account's number, a letter for
-- kind and field, and a value or a word; terms.py says how. The default is only for the rows that are there: who inserts
-- one without it is refused, or nobody would ever find the entry.
ALTER TABLE entry ADD COLUMN words tsvector NOT NULL DEFAULT '';
ALTER TABLE entry ALTER COLUMN words DROP DEFAULT;

-- Derived from entry: how many entries there are of each hour, and of each value of some fields.
CREATE TABLE tally (
    account_no       bigint   NOT NULL,
    kind             smallint NOT NULL,
    key              text     COLLATE "C" NOT NULL,  -- the field; '': all entries of the kind, whose value is ''
    hour             integer  NOT NULL,              -- of created_ms, counted from 1970
    value            bytea    NOT NULL,
    count            bigint   NOT NULL,
    PRIMARY KEY (account_no, kind, key, hour, value)
) WITH (fillfactor = 90);                            -- rows are counted up in place

-- Truth. What comes before was erased; the tree's hashes stay.
ALTER TABLE head ADD COLUMN kept_from bigint NOT NULL DEFAULT 0;

-- filling.py

-- After the filling: made in one go, rather than entry by entry all over itself.
CREATE INDEX entry_words ON entry USING gin (words) WITH (fastupdate = on, gin_pending_list_limit = 4096);

-- Of the new column and table, nothing is known to the planner yet.
ANALYZE entry, tally;
