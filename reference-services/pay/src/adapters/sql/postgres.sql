CREATE TABLE IF NOT EXISTS payments (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id TEXT NOT NULL UNIQUE,
    amount   BIGINT,
    -- 'taken', 'refunded', or 'barred': never paid, and not to be paid any more.
    status   TEXT NOT NULL
);
