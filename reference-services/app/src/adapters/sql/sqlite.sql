CREATE TABLE IF NOT EXISTS orders (
    sequence        INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    item            TEXT NOT NULL,
    quantity        INTEGER NOT NULL,
    address         TEXT,
    -- 'pending' until it is paid: nobody sees it, and it is abandoned when it stays so for too long.
    status          TEXT NOT NULL,
    idempotency_key TEXT UNIQUE,
    begun_at_ms     INTEGER NOT NULL,
    -- Of the request that began it.
    traceparent     TEXT
);
CREATE INDEX IF NOT EXISTS orders_pending ON orders (begun_at_ms) WHERE status = 'pending';
