CREATE TABLE IF NOT EXISTS payments (
    sequence BIGINT AUTO_INCREMENT PRIMARY KEY,
    order_id VARCHAR(64) NOT NULL UNIQUE,
    amount   BIGINT,
    -- 'taken', 'refunded', or 'barred': never paid, and not to be paid any more.
    status   VARCHAR(16) NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
