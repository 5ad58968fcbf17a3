CREATE TABLE IF NOT EXISTS orders (
    sequence        BIGINT AUTO_INCREMENT PRIMARY KEY,
    id              CHAR(32) NOT NULL UNIQUE,
    item            VARCHAR(64) NOT NULL,
    quantity        BIGINT NOT NULL,
    address         TEXT,
    -- 'pending' until it is paid: nobody sees it, and it is abandoned when it stays so for too long.
    status          VARCHAR(16) NOT NULL,
    idempotency_key VARCHAR(128) UNIQUE,
    begun_at_ms     BIGINT NOT NULL,
    -- Of the request that began it.
    traceparent     VARCHAR(64),
    INDEX orders_pending (status, begun_at_ms)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
