CREATE TABLE IF NOT EXISTS outbox (
    sequence       BIGINT AUTO_INCREMENT PRIMARY KEY,
    topic          VARCHAR(255) NOT NULL,
    event_id       CHAR(32) NOT NULL,
    kind           VARCHAR(255) NOT NULL,
    schema_version BIGINT NOT NULL,
    event_key      VARCHAR(255) NOT NULL,
    correlation_id VARCHAR(255) NOT NULL,
    causation_id   VARCHAR(255) NOT NULL,
    occurred_at_ms BIGINT NOT NULL,
    traceparent    VARCHAR(255),
    payload        MEDIUMTEXT NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS outbox_dead_letters (
    sequence       BIGINT PRIMARY KEY,
    topic          VARCHAR(255) NOT NULL,
    event_id       CHAR(32) NOT NULL,
    kind           VARCHAR(255) NOT NULL,
    schema_version BIGINT NOT NULL,
    event_key      VARCHAR(255) NOT NULL,
    correlation_id VARCHAR(255) NOT NULL,
    causation_id   VARCHAR(255) NOT NULL,
    occurred_at_ms BIGINT NOT NULL,
    traceparent    VARCHAR(255),
    payload        MEDIUMTEXT NOT NULL,
    reason         TEXT NOT NULL,
    died_at_ms     BIGINT NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
