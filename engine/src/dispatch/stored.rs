//! State as rows and back. A row that cannot be read is said in words and left out.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

use super::alert::Fingerprint;
use super::group::{Group, GroupId};
use super::limit::Bucket;
use super::record::Record;
use super::silence::Silence;
use super::view::Acknowledgement;
use super::{Dispatcher, Row, Table};

/// What changed in a step.
#[derive(Debug, Clone, Default)]
pub(super) struct Unsaved {
    pub alerts: BTreeSet<Fingerprint>,
    pub acknowledgements: BTreeSet<Fingerprint>,
    pub groups: BTreeSet<GroupId>,
    /// Groups of which nothing but the next instant changed.
    pub next_flushes: BTreeSet<GroupId>,
    pub silences: BTreeSet<String>,
    pub buckets: BTreeSet<String>,
}

/// When a group is looked at next.
#[derive(Debug, Serialize, Deserialize)]
struct NextFlush {
    at: Timestamp,
    escalation_at: Option<Timestamp>,
}

/// An acknowledgement with its episode.
#[derive(Debug, Serialize, Deserialize)]
struct Acknowledged {
    starts_at: Timestamp,
    #[serde(flatten)]
    acknowledgement: Acknowledgement,
}

/// Everything that rows say.
#[derive(Debug, Default)]
pub(super) struct Restored {
    pub alerts: BTreeMap<Fingerprint, Record>,
    pub groups: BTreeMap<GroupId, Group>,
    pub silences: BTreeMap<String, Silence>,
    pub buckets: BTreeMap<String, Bucket>,
    pub notes: Vec<String>,
}

/// Before the id of a group, in the key of the row with its next instant.
const NEXT_FLUSH: &str = "next flush of ";

impl Dispatcher {
    /// Rows of all that it knows, for a store that lost some.
    pub fn all_rows(&mut self) -> Vec<Row> {
        let acknowledged = self.alerts.iter().filter(|(_, record)| record.acknowledgement.is_some());
        self.unsaved.acknowledgements.extend(acknowledged.map(|(fingerprint, _)| *fingerprint));
        self.unsaved.alerts.extend(self.alerts.keys().copied());
        self.unsaved.groups.extend(self.groups.keys().cloned());
        self.unsaved.silences.extend(self.silences.keys().cloned());
        self.unsaved.buckets.extend(self.buckets.keys().cloned());
        self.take_rows()
    }

    /// Rows of all that changed since this was last asked.
    pub(super) fn take_rows(&mut self) -> Vec<Row> {
        let unsaved = std::mem::take(&mut self.unsaved);
        let mut rows = Vec::new();
        for fingerprint in &unsaved.alerts {
            rows.push(row(Table::Alert, fingerprint.to_string(), self.alerts.get(fingerprint)));
        }
        for id in &unsaved.groups {
            rows.push(row(Table::Group, group_key(id), self.groups.get(id)));
        }
        for id in unsaved.next_flushes.union(&unsaved.groups) {
            let next = self
                .groups
                .get(id)
                .map(|group| NextFlush { at: group.next_flush_at, escalation_at: group.next_escalation_at });
            rows.push(row(Table::Group, format!("{NEXT_FLUSH}{}", group_key(id)), next.as_ref()));
        }
        for id in &unsaved.silences {
            rows.push(row(Table::Silence, id.clone(), self.silences.get(id)));
        }
        for fingerprint in &unsaved.acknowledgements {
            let acknowledged = self.alerts.get(fingerprint).and_then(|record| {
                let acknowledgement = record.acknowledgement.clone()?;
                Some(Acknowledged { starts_at: record.starts_at, acknowledgement })
            });
            rows.push(row(Table::Acknowledgement, fingerprint.to_string(), acknowledged.as_ref()));
        }
        for receiver in &unsaved.buckets {
            rows.push(row(Table::Receiver, receiver.clone(), self.buckets.get(receiver)));
        }
        rows
    }
}

fn is_next_flush(row: &Row) -> bool {
    row.table == Table::Group && row.key.starts_with(NEXT_FLUSH)
}

fn row<T: Serialize>(table: Table, key: String, value: Option<&T>) -> Row {
    let json = |value| serde_json::to_string(value).expect("numbers are finite and keys are texts");
    Row { table, key, value: value.map(json) }
}

/// Unlike two texts side by side, an array of JSON says where one ends.
fn group_key(id: &GroupId) -> String {
    serde_json::to_string(&(&id.receiver, &id.key)).expect("texts")
}

fn group_id(key: &str) -> Result<GroupId, String> {
    let (receiver, key) = serde_json::from_str(key).map_err(|error| error.to_string())?;
    Ok(GroupId { key, receiver })
}

impl Restored {
    pub fn read(rows: &[Row]) -> Self {
        let mut restored = Restored::default();
        let mut later = Vec::new();
        for row in rows {
            let Some(value) = &row.value else { continue };
            // These say more of an alert or a group that has to be there.
            if row.table == Table::Acknowledgement || is_next_flush(row) {
                later.push((row, value));
            } else if let Err(error) = restored.take(row, value) {
                restored.note(row, &error);
            }
        }
        for (row, value) in later {
            if let Err(error) = restored.complete(row, value) {
                restored.note(row, &error);
            }
        }
        restored
    }

    fn note(&mut self, row: &Row, error: &str) {
        let Row { table, key, .. } = row;
        self.notes.push(format!("stored {table:?} {key:?} is left out: {error}"));
    }

    fn take(&mut self, row: &Row, value: &str) -> Result<(), String> {
        match row.table {
            Table::Alert => {
                self.alerts.insert(row.key.parse()?, json(value)?);
            }
            Table::Group => {
                self.groups.insert(group_id(&row.key)?, json(value)?);
            }
            Table::Silence => {
                self.silences.insert(row.key.clone(), json(value)?);
            }
            Table::Receiver => {
                self.buckets.insert(row.key.clone(), json(value)?);
            }
            Table::Acknowledgement => {}
        }
        Ok(())
    }

    fn complete(&mut self, row: &Row, value: &str) -> Result<(), String> {
        if is_next_flush(row) {
            let NextFlush { at, escalation_at } = json(value)?;
            let id = group_id(row.key.strip_prefix(NEXT_FLUSH).unwrap_or_default())?;
            let group = self.groups.get_mut(&id).ok_or("there is no such group")?;
            (group.next_flush_at, group.next_escalation_at) = (at, escalation_at);
            return Ok(());
        }
        let Acknowledged { starts_at, acknowledgement } = json(value)?;
        let record = self.alerts.get_mut(&row.key.parse()?);
        let record = record.filter(|record| record.is_open() && record.starts_at == starts_at);
        record.ok_or("there is no such alert")?.acknowledgement = Some(acknowledgement);
        Ok(())
    }
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Evidence as JSON. Use with `#[serde(with = "..")]`.
pub(super) mod evidence {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tocsin_proto::pb::notification::{Evidence, Point};

    #[derive(Serialize, Deserialize)]
    struct Written {
        quantity: String,
        unit: String,
        points: Vec<(i64, f64, Option<f64>)>,
    }

    pub fn serialize<S: Serializer>(evidence: &Evidence, serializer: S) -> Result<S::Ok, S::Error> {
        let Evidence { quantity, unit, points } = evidence.clone();
        let points = points.into_iter().map(|point| (point.at, point.value, point.limit)).collect();
        Written { quantity, unit, points }.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Evidence, D::Error> {
        let Written { quantity, unit, points } = Written::deserialize(deserializer)?;
        let points = points.into_iter().map(|(at, value, limit)| Point { at, value, limit }).collect();
        Ok(Evidence { quantity, unit, points })
    }
}
