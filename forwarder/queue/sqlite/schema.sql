-- The queue's file, schema version 3. A change to it is a new version, with its way from this one in `migration`.
--
-- Events of a destination are numbered in the order in which they were queued: their position.
-- `head` is the first position that is not settled, `tail` the next one to give out; what was
-- settled out of order, beyond the head, stands in `settled` until the head reaches it. So
--
--     queued = tail - head - (settled beyond the head)
--
-- is known from the positions alone, and accepted = queued + delivered + dead + dropped can be
-- checked in every committed state.

CREATE TABLE destination (
  id        INTEGER PRIMARY KEY,
  name      TEXT    NOT NULL UNIQUE,
  head      INTEGER NOT NULL DEFAULT 0,
  tail      INTEGER NOT NULL DEFAULT 0,
  accepted  INTEGER NOT NULL DEFAULT 0,
  delivered INTEGER NOT NULL DEFAULT 0,
  dead      INTEGER NOT NULL DEFAULT 0,
  dropped   INTEGER NOT NULL DEFAULT 0,
  bytes     INTEGER NOT NULL DEFAULT 0,  -- of its segments, as estimated on disk
  dead_bytes INTEGER NOT NULL DEFAULT 0, -- of its dead letters, likewise
  paused    INTEGER NOT NULL DEFAULT 0,
  purged    INTEGER NOT NULL DEFAULT 0,  -- positions from the head on that have no row any more, and are not settled
  died      INTEGER NOT NULL DEFAULT 0,  -- how many ever became dead letters
  replayed  INTEGER NOT NULL DEFAULT 0   -- how many dead letters were ever sent again
) STRICT;

-- A segment: consecutive events of one destination, one a line. Its row number is its place:
-- destination << 48 | position of its first event. So a row number is never used twice, rows are
-- appended at the end of their destination's range, and no second index has to be written.
CREATE TABLE segment (
  id          INTEGER PRIMARY KEY,
  events      INTEGER NOT NULL,
  size        INTEGER NOT NULL,  -- bytes of data
  accepted_at REAL    NOT NULL,  -- seconds since the epoch
  checksum    INTEGER NOT NULL,  -- CRC-32 of data, seeded with (id xor events)
  data        BLOB    NOT NULL
) STRICT;

-- Positions first ≤ p < until that are settled although the head has not reached them.
CREATE TABLE settled (
  destination INTEGER NOT NULL REFERENCES destination (id),
  first       INTEGER NOT NULL,
  until       INTEGER NOT NULL,
  PRIMARY KEY (destination, first)
) STRICT, WITHOUT ROWID;

-- Events that died together: letters, one a line. Letters are numbered in the order in which they died, and the
-- row has the number of its last one, so that numbers are never used twice. (See `letters`.)
CREATE TABLE dead_segment (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  destination INTEGER NOT NULL REFERENCES destination (id),
  events      INTEGER NOT NULL,  -- letters that are left
  reason      TEXT    NOT NULL,
  status      INTEGER,
  detail      TEXT    NOT NULL,
  died_at     REAL    NOT NULL,
  parts       TEXT    NOT NULL,  -- [[number of its first letter, letters, time of acceptance], ...], as JSON
  checksum    INTEGER NOT NULL,  -- CRC-32 of parts and data, seeded with (id xor events)
  data        BLOB    NOT NULL
) STRICT;
