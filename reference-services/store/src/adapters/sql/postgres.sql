CREATE TABLE IF NOT EXISTS deliveries (
    sequence       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id       TEXT NOT NULL UNIQUE,
    item           TEXT NOT NULL,
    quantity       BIGINT NOT NULL,
    address        TEXT,
    stage          TEXT NOT NULL,
    due_at_ms      BIGINT,
    event_id       TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    traceparent    TEXT
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_at_ms);
