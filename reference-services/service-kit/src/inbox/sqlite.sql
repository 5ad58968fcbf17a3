CREATE TABLE IF NOT EXISTS inbox (
    event_id      TEXT PRIMARY KEY,
    handled_at_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS inbox_by_age ON inbox (handled_at_ms);
