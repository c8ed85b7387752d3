//! Field paths: `message.addresses`, `peer_infos.inv_to_send`.
//!
//! A path names an event kind and then fields; steps that go without saying may be left out (`message.peer_id` is
//! `message.meta.peer_id`). The reading that leaves out the fewest steps counts. Where several members of one oneof
//! fit equally well (`message.addresses` of `addr` and of `addrv2`), the path means whichever is present.

use tocsin_proto::schema::{Field, Kind, Presence, Schema, Type};

/// Index of an event kind in [`Schema::kinds`].
pub type KindId = usize;

/// A path resolved against the schema.
#[derive(Debug, Clone)]
pub struct FieldPath {
    /// The event kind.
    pub kind: KindId,
    /// Fields from the kind's message down to the named one; several where members of a oneof fit equally well.
    /// One empty route stands for the kind itself.
    pub routes: Vec<Vec<Field>>,
    /// The named field.
    pub field: Field,
}

/// Why a path names nothing; `Display` says what would be right.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PathError {
    /// The first segments are no event kind.
    #[error("{path:?}: no event kind has this name{}", or_nearest(.nearest))]
    Kind {
        /// The path as written.
        path: String,
        /// Kinds with similar names.
        nearest: Vec<String>,
    },
    /// The kind has no such field.
    #[error("{path:?}: {kind} has no such field{}", or_nearest(.nearest))]
    Field {
        /// The path as written.
        path: String,
        /// The event kind it was looked for in.
        kind: String,
        /// Fields with similar names.
        nearest: Vec<String>,
    },
    /// Several fields fit and nothing tells which is meant.
    #[error("{path:?} is ambiguous, expected one of {}", .candidates.join(", "))]
    Ambiguous {
        /// The path as written.
        path: String,
        /// The fields that fit.
        candidates: Vec<String>,
    },
}

fn or_nearest(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(", nearest: {}", names.join(", ")) }
}

/// Resolves a path that begins with an event kind, as `message.addresses`.
pub fn resolve(schema: &Schema, path: &str) -> Result<FieldPath, PathError> {
    let (kind, rest) = split_kind(schema, path)?;
    resolve_in(schema, kind, rest).map_err(|error| with_whole_path(error, path))
}

/// Resolves a path below an event kind, as `inbound` within `message`. An empty path is the kind itself.
pub fn resolve_in(schema: &Schema, kind: KindId, path: &str) -> Result<FieldPath, PathError> {
    let kind_def = &schema.kinds()[kind];
    // A kind that is a plain value (`uptime`) has it under the name `value`.
    let is_plain_value = path == "value" && !matches!(kind_def.field.ty, Type::Message(_));
    if path.is_empty() || is_plain_value {
        let field = sole_list(schema, kind_def).unwrap_or_else(|| kind_def.field.clone());
        let route = if field.is_repeated() { vec![field.clone()] } else { Vec::new() };
        return Ok(FieldPath { kind, routes: vec![route], field });
    }
    let segments: Vec<&str> = path.split('.').collect();
    let all = routes_of(schema, kind_def);
    let fits = |route: &&Vec<Field>| is_subsequence(&segments, route);
    let best = all.iter().filter(fits).map(|route| rank(route)).min();
    let routes: Vec<Vec<Field>> =
        all.iter().filter(fits).filter(|route| Some(rank(route)) == best).cloned().collect();
    let Some(first) = routes.first() else {
        let nearest = nearest_routes(&all, segments.last().expect("split yields at least one"));
        return Err(PathError::Field { path: path.to_string(), kind: kind_def.name.clone(), nearest });
    };
    let clash = |(index, route): (usize, &Vec<Field>)| {
        routes[..index].iter().any(|other| !are_alternatives(other, route))
    };
    if routes.iter().enumerate().any(clash) {
        let candidates = routes.iter().map(|route| joined(route)).collect();
        return Err(PathError::Ambiguous { path: path.to_string(), candidates });
    }
    let field = first.last().expect("a route has at least one step").clone();
    Ok(FieldPath { kind, field, routes })
}

/// The event kind a path begins with, and what follows it.
pub fn split_kind<'p>(schema: &Schema, path: &'p str) -> Result<(KindId, &'p str), PathError> {
    let kinds = schema.kinds();
    let rest_after = |kind: &Kind| match path.strip_prefix(kind.name.as_str()) {
        Some("") => Some(""),
        Some(rest) => rest.strip_prefix('.'),
        None => None,
    };
    let found = kinds.iter().enumerate().filter_map(|(id, kind)| Some((id, rest_after(kind)?)));
    // `log` and a kind that begins with it would both fit: the longer name is meant.
    found.max_by_key(|(id, _)| kinds[*id].name.len()).ok_or_else(|| {
        let names = kinds.iter().map(|kind| kind.name.clone());
        PathError::Kind { path: path.to_string(), nearest: nearest_names(names, path) }
    })
}

/// The up to three names most like `wanted`, none if nothing is like it.
pub fn nearest_names(names: impl Iterator<Item = String>, wanted: &str) -> Vec<String> {
    let mut scored: Vec<(f64, String)> = names
        .map(|name| (strsim::jaro_winkler(&name, wanted), name))
        .filter(|(similarity, _)| *similarity > 0.7)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

/// A kind that is nothing but one list (`peer_infos`) stands for its elements.
fn sole_list(schema: &Schema, kind: &Kind) -> Option<Field> {
    let Type::Message(id) = kind.field.ty else { return None };
    match schema.message(id).fields.as_slice() {
        [only] if only.is_repeated() => Some(only.clone()),
        _ => None,
    }
}

/// Every field below a kind, as the steps that lead to it.
pub fn routes_of(schema: &Schema, kind: &Kind) -> Vec<Vec<Field>> {
    let mut routes = Vec::new();
    let mut pending: Vec<(Vec<Field>, Type)> = vec![(Vec::new(), kind.field.ty)];
    while let Some((route, ty)) = pending.pop() {
        let Type::Message(id) = ty else { continue };
        for field in &schema.message(id).fields {
            let mut longer = route.clone();
            longer.push(field.clone());
            pending.push((longer.clone(), field.ty));
            routes.push(longer);
        }
    }
    routes.sort_by_key(|route| route.iter().map(|field| field.number).collect::<Vec<_>>());
    routes
}

/// The names of a route's steps with dots between them.
pub fn joined(route: &[Field]) -> String {
    route.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(".")
}

fn is_subsequence(segments: &[&str], route: &[Field]) -> bool {
    let (Some(last_segment), Some(last_step)) = (segments.last(), route.last()) else { return false };
    let mut wanted = segments.iter().peekable();
    for step in route {
        if wanted.peek().is_some_and(|segment| **segment == step.name) {
            wanted.next();
        }
    }
    wanted.peek().is_none() && *last_segment == last_step.name
}

/// Fewest steps first, then fewest choices: `message.command` is always there, the one of `unknown` seldom.
fn rank(route: &[Field]) -> (usize, usize) {
    let choices = route.iter().filter(|step| matches!(step.presence, Presence::Oneof(_))).count();
    (route.len(), choices)
}

/// True if two routes part at members of one oneof and end in the same type, so that at most one is ever present.
fn are_alternatives(a: &[Field], b: &[Field]) -> bool {
    let (Some(end_a), Some(end_b)) = (a.last(), b.last()) else { return false };
    if (end_a.ty, end_a.is_repeated()) != (end_b.ty, end_b.is_repeated()) {
        return false;
    }
    match a.iter().zip(b).find(|(a, b)| a.number != b.number) {
        None => a.len() == b.len(),
        Some((a, b)) => matches!(a.presence, Presence::Oneof(_)) && a.presence == b.presence,
    }
}

fn nearest_routes(routes: &[Vec<Field>], wanted: &str) -> Vec<String> {
    let mut ends: Vec<String> =
        routes.iter().map(|route| route.last().expect("never empty").name.clone()).collect();
    ends.sort();
    ends.dedup();
    let shortest = |name: &String| {
        let same_end = routes.iter().filter(|route| route.last().is_some_and(|step| step.name == *name));
        same_end.min_by_key(|route| rank(route)).map(|route| joined(route)).unwrap_or_default()
    };
    nearest_names(ends.into_iter(), wanted).iter().map(shortest).collect()
}

fn with_whole_path(error: PathError, whole: &str) -> PathError {
    match error {
        PathError::Field { kind, nearest, .. } => {
            let nearest = nearest.iter().map(|name| format!("{kind}.{name}")).collect();
            PathError::Field { path: whole.to_string(), kind, nearest }
        }
        PathError::Ambiguous { candidates, .. } => {
            PathError::Ambiguous { path: whole.to_string(), candidates }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &[&str]) {
        let resolved = resolve(Schema::embedded(), path).unwrap();
        let routes: Vec<String> = resolved.routes.iter().map(|route| joined(route)).collect();
        assert_eq!(routes, expected);
    }

    #[test]
    fn steps_that_go_without_saying_may_be_left_out() {
        check("message.peer_id", &["meta.peer_id"]);
        check("connection.closed.peer_id", &["conn.peer_id"]);
        check("peer_infos.inv_to_send", &["infos.inv_to_send"]);
        check("orphan_txs.from", &["orphans.from"]);
        check("network_info.connections_in", &["connections_in"]);
    }

    #[test]
    fn a_path_means_whichever_member_of_a_oneof_is_present() {
        check("message.addresses", &["addr.addresses", "addrv2.addresses"]);
    }

    #[test]
    fn a_field_that_is_always_there_goes_before_one_of_a_oneof() {
        check("message.command", &["meta.command"]);
    }

    #[test]
    fn a_kind_of_one_list_stands_for_its_elements() {
        check("peer_infos", &["infos"]);
        check("uptime", &[""]);
        check("uptime.value", &[""]);
    }

    #[test]
    fn a_wrong_path_names_the_nearest_right_ones() {
        let error = resolve(Schema::embedded(), "message.addreses").unwrap_err().to_string();
        assert!(error.contains("message.addr.addresses"), "{error}");
        let error = resolve(Schema::embedded(), "mesage.addresses").unwrap_err().to_string();
        assert!(error.contains("nearest: message"), "{error}");
    }
}
