CREATE TABLE IF NOT EXISTS inbox (
    event_id      CHAR(32) PRIMARY KEY,
    handled_at_ms BIGINT NOT NULL,
    INDEX inbox_by_age (handled_at_ms)
) ENGINE = InnoDB CHARACTER SET ascii COLLATE ascii_bin;
