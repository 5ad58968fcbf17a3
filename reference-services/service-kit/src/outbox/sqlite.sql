CREATE TABLE IF NOT EXISTS outbox (
    sequence       INTEGER PRIMARY KEY AUTOINCREMENT,
    topic          TEXT NOT NULL,
    event_id       TEXT NOT NULL,
    kind           TEXT NOT NULL,
    schema_version INTEGER NOT NULL,
    event_key      TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    causation_id   TEXT NOT NULL,
    occurred_at_ms INTEGER NOT NULL,
    traceparent    TEXT,
    payload        TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS outbox_dead_letters (
    sequence       INTEGER PRIMARY KEY,
    topic          TEXT NOT NULL,
    event_id       TEXT NOT NULL,
    kind           TEXT NOT NULL,
    schema_version INTEGER NOT NULL,
    event_key      TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    causation_id   TEXT NOT NULL,
    occurred_at_ms INTEGER NOT NULL,
    traceparent    TEXT,
    payload        TEXT NOT NULL,
    reason         TEXT NOT NULL,
    died_at_ms     INTEGER NOT NULL
);
