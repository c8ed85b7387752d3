//! `tocsin events`: the catalogue of event kinds and fields, as rules name them.

use anyhow::bail;
use tocsin_engine::project::path;
use tocsin_proto::schema::{Field, Kind, Schema, Type};

use super::Ended;
use super::arguments::EventsArguments;
use super::output::Style;

/// Runs the command.
pub fn run(arguments: &EventsArguments) -> anyhow::Result<Ended> {
    let schema = Schema::embedded();
    let is_asked = |kind: &&Kind| {
        arguments.kinds.is_empty()
            || arguments.kinds.iter().any(|asked| kind.name.starts_with(asked.as_str()))
    };
    let kinds: Vec<&Kind> = schema.kinds().iter().filter(is_asked).collect();
    if kinds.is_empty() {
        let names: Vec<&str> = schema.kinds().iter().map(|kind| kind.name.as_str()).collect();
        bail!("no event kind begins with {}, expected {}", arguments.kinds.join(" or "), names.join(", "));
    }
    let mut out = String::new();
    for kind in kinds {
        describe(schema, kind, &mut out);
    }
    print_all(&out);
    Ok(Ended::Well)
}

/// Prints to standard output; a reader that has seen enough, as `head`, is no error.
fn print_all(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn describe(schema: &Schema, kind: &Kind, out: &mut String) {
    let style = Style::of_stdout();
    let doc = match kind.field.ty {
        Type::Message(id) if kind.field.doc.is_empty() => &schema.message(id).doc,
        _ => &kind.field.doc,
    };
    out.push_str(&format!("{}  {}\n", style.bold(&kind.name), style.dim(&format!("[{}]", kind.source))));
    out.push_str(&format!("    {doc}\n"));
    let routes = path::routes_of(schema, kind);
    let routes: Vec<&Vec<Field>> = routes.iter().filter(|route| !is_wrapper(route)).collect();
    let routes_are_none = routes.is_empty();
    let name = |route: &[Field]| format!("{}.{}", kind.name, path::joined(route));
    let width = routes.iter().map(|route| name(route).len()).max().unwrap_or(0).min(60);
    for route in routes {
        let field = route.last().expect("a route has at least one step");
        let unit = field.unit.as_deref().unwrap_or("");
        let source = field.source.as_ref().map_or(String::new(), |source| style.dim(&format!(" [{source}]")));
        let (name, ty) = (name(route), type_name(schema, field));
        out.push_str(&format!("  {name:<width$}  {ty:<8}  {unit:<9}  {}{source}\n", field.doc));
    }
    if routes_are_none {
        let unit = kind.field.unit.as_deref().unwrap_or("");
        let (name, ty) = (format!("{}.value", kind.name), type_name(schema, &kind.field));
        out.push_str(&format!("  {name}  {ty:<8}  {unit:<9}  {doc}\n"));
    }
    out.push('\n');
}

/// A step that has no value of its own: it only leads to the fields below it.
fn is_wrapper(route: &[Field]) -> bool {
    route.last().is_some_and(|field| {
        matches!(field.ty, Type::Message(_))
            && !field.is_repeated()
            && !matches!(field.presence, tocsin_proto::schema::Presence::Oneof(_))
    })
}

fn type_name(schema: &Schema, field: &Field) -> String {
    let name = match field.ty {
        Type::U32 | Type::U64 | Type::Fixed64 => "uint",
        Type::I32 | Type::I64 | Type::S32 | Type::S64 => "int",
        Type::F64 => "float",
        Type::Bool => "bool",
        Type::Enum(_) => "enum",
        Type::Str => "text",
        Type::Bytes => "bytes",
        Type::Message(id) if field.is_repeated() => return format!("list of {}", schema.message(id).name),
        Type::Message(_) => "message",
    };
    if field.is_repeated() { format!("list of {name}") } else { name.to_string() }
}
