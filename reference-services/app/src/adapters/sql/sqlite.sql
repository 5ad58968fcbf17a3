CREATE TABLE IF NOT EXISTS orders (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    item     TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    address  TEXT
);
