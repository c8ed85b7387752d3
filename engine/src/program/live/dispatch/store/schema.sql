-- All instants are unix ms. `sum` is a checksum of the row: SQLite notices damage between rows, not inside of one.
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
-- What the dispatcher knows, as JSON.
CREATE TABLE state (kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, sum INTEGER NOT NULL,
    PRIMARY KEY (kind, key)) STRICT;
-- What alerts did; `at` and `starts_at` on the node's clock.
CREATE TABLE changes (id TEXT PRIMARY KEY, alert TEXT NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL,
    starts_at INTEGER NOT NULL, stored_at INTEGER NOT NULL) STRICT;
CREATE INDEX changes_of_alert ON changes (alert);
CREATE INDEX changes_by_age ON changes (stored_at);
-- Log and outbox in one; `since` is when it was decided or sent again by hand; `body` is a Notification of notification.proto, `state` pending, delivered or dead.
CREATE TABLE notifications (id TEXT PRIMARY KEY, receiver TEXT NOT NULL, group_key TEXT NOT NULL, thread TEXT NOT NULL,
    number INTEGER NOT NULL, reason INTEGER NOT NULL, reason_text TEXT NOT NULL, decided_at INTEGER NOT NULL,
    since INTEGER NOT NULL, body BLOB NOT NULL, sum INTEGER NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL, last_error TEXT, ended_at INTEGER) STRICT;
CREATE INDEX notifications_by_state ON notifications (state);
CREATE INDEX notifications_by_age ON notifications (decided_at);
-- What the first delivery of a thread left.
CREATE TABLE receipts (receiver TEXT NOT NULL, thread TEXT NOT NULL, reference TEXT NOT NULL, stored_at INTEGER NOT NULL,
    PRIMARY KEY (receiver, thread)) STRICT;
CREATE INDEX receipts_by_age ON receipts (stored_at);
CREATE TABLE decisions (at INTEGER NOT NULL, alert TEXT NOT NULL, starts_at INTEGER NOT NULL, receiver TEXT,
    kind TEXT NOT NULL, reason TEXT NOT NULL, notification TEXT) STRICT;
CREATE INDEX decisions_of_alert ON decisions (alert);
CREATE INDEX decisions_by_age ON decisions (at);

-- Labels of alerts, as JSON, for their stories once they fire no more.
CREATE TABLE labels (alert TEXT PRIMARY KEY, labels TEXT NOT NULL, stored_at INTEGER NOT NULL) STRICT;
CREATE INDEX labels_by_age ON labels (stored_at);
