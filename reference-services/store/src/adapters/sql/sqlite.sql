CREATE TABLE IF NOT EXISTS deliveries (
    sequence       INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id       TEXT NOT NULL UNIQUE,
    item           TEXT NOT NULL,
    quantity       INTEGER NOT NULL,
    address        TEXT,
    stage          TEXT NOT NULL,
    due_at_ms      INTEGER,
    event_id       TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    traceparent    TEXT
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_at_ms);
