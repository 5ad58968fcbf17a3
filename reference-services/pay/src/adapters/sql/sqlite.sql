CREATE TABLE IF NOT EXISTS payments (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id TEXT NOT NULL UNIQUE,
    amount   INTEGER,
    -- 'taken', 'refunded', or 'barred': never paid, and not to be paid any more.
    status   TEXT NOT NULL
);
