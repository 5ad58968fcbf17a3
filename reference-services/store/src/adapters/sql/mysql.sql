CREATE TABLE IF NOT EXISTS deliveries (
    sequence       BIGINT AUTO_INCREMENT PRIMARY KEY,
    order_id       VARCHAR(64) NOT NULL UNIQUE,
    item           TEXT NOT NULL,
    quantity       BIGINT NOT NULL,
    address        TEXT,
    stage          VARCHAR(16) NOT NULL,
    due_at_ms      BIGINT,
    event_id       CHAR(32) NOT NULL,
    correlation_id TEXT NOT NULL,
    traceparent    TEXT,
    INDEX deliveries_due (due_at_ms)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
