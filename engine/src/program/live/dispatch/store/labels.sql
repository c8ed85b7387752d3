-- Labels of alerts, as JSON, for their stories once they fire no more. Stores made before this table get it when they are opened.
CREATE TABLE IF NOT EXISTS labels (alert TEXT PRIMARY KEY, labels TEXT NOT NULL, stored_at INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS labels_by_age ON labels (stored_at);
