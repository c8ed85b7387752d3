//! The scripts of rules: compiled, checked for misspelt fields, and run in a sandbox.
//!
//! A script reaches nothing but its arguments. It cannot read files, sleep, load code or grow without bound; each
//! call ends after [`OPERATIONS_MAX`] operations at the latest, however it was written.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicIteratorPackage, BasicMapPackage, BasicMathPackage,
    BasicStringPackage, LogicPackage, MoreStringPackage, Package,
};
use rhai::{
    AST, ASTNode, CallFnOptions, Dynamic, Engine, EvalAltResult, Expr, FuncArgs, Position, Scope, Stmt,
};

use super::literal::{Complaint, LiteralValue};
use crate::windows::watch::Assessed;
use crate::windows::{Reading, Shown, Window};

/// Operations of one call at most: some milliseconds of work, where a rule needs microseconds.
pub const OPERATIONS_MAX: u64 = 100_000;

/// What `this` of one key may hold, see [`size_of`]. State that grows belongs into a window.
pub const STATE_MAX: usize = 4096;

/// The engine all scripts run in.
#[derive(Debug)]
pub struct Sandbox {
    engine: Engine,
}

/// A compiled script.
#[derive(Debug)]
pub struct Script {
    ast: AST,
    /// `check(w, params)`, if there is one.
    pub check: Option<Function>,
    /// `on_event(e)` or `on_event(e, params)`, if there is one.
    pub on_event: Option<Function>,
}

/// One function the engine calls, and which fields of its arguments it reads.
#[derive(Debug)]
pub struct Function {
    /// Statements of its body.
    pub body: Vec<Stmt>,
    /// Names of its parameters.
    pub params: Vec<String>,
    /// Reads of fields: parameter number, dotted path below it, place.
    pub reads: Vec<FieldRead>,
    /// Parameters that are used other than by a field, so that not all reads are known.
    pub escapes: Vec<(usize, Position)>,
    /// Its first loop, or else its last statement: the place of errors that have none of their own.
    pub place: Position,
}

/// One place that reads a field of a parameter.
#[derive(Debug, Clone)]
pub struct FieldRead {
    /// Which parameter.
    pub param: usize,
    /// Field names from the parameter on.
    pub path: Vec<String>,
    /// Where.
    pub position: Position,
}

impl Script {
    /// A complaint about a function, at the function's own place if it has none.
    pub fn placed(&self, function: &str, mut complaint: Complaint) -> Complaint {
        let function = if function == "check" { &self.check } else { &self.on_event };
        if let (true, Some(function)) = (complaint.position.is_none(), function) {
            complaint.position = function.place;
        }
        complaint
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Sandbox::new()
    }
}

impl Sandbox {
    /// An engine with arithmetic, logic, text, lists and maps, and nothing that reaches outside.
    pub fn new() -> Self {
        let mut engine = Engine::new_raw();
        // Not CorePackage or StandardPackage: both bring a `sleep` that no limit can interrupt.
        ArithmeticPackage::new().register_into_engine(&mut engine);
        LogicPackage::new().register_into_engine(&mut engine);
        BasicMathPackage::new().register_into_engine(&mut engine);
        BasicStringPackage::new().register_into_engine(&mut engine);
        MoreStringPackage::new().register_into_engine(&mut engine);
        BasicIteratorPackage::new().register_into_engine(&mut engine);
        BasicArrayPackage::new().register_into_engine(&mut engine);
        BasicMapPackage::new().register_into_engine(&mut engine);
        let refuse =
            || -> Result<(), Box<EvalAltResult>> { Err("rules cannot sleep: time comes from events".into()) };
        engine.register_fn("sleep", move |_: i64| refuse());
        engine.register_fn("sleep", move |_: f64| refuse());
        super::siblings::register(&mut engine);
        engine.disable_symbol("eval");
        engine.on_print(|_| {});
        engine.on_debug(|_, _, _| {});
        engine.set_optimization_level(rhai::OptimizationLevel::None);
        engine.set_strict_variables(true);
        engine.set_fail_on_invalid_map_property(true);
        engine.set_max_operations(OPERATIONS_MAX);
        engine.set_max_call_levels(16);
        engine.set_max_expr_depths(48, 32);
        engine.set_max_string_size(16 * 1024);
        engine.set_max_array_size(4096);
        engine.set_max_map_size(256);
        engine.set_max_variables(64);
        engine.set_max_functions(64);
        Sandbox { engine }
    }

    /// Compiles a rule file.
    pub fn compile(&self, text: &str) -> Result<Script, Complaint> {
        let ast = self
            .engine
            .compile(text)
            .map_err(|error| Complaint::new(error.position(), error.err_type().to_string()))?;
        let check = Function::find(&ast, "check", 2..=2)?;
        let on_event = Function::find(&ast, "on_event", 1..=2)?;
        if check.is_none() && on_event.is_none() {
            let message = "there is neither fn check(w, params) nor fn on_event(e)";
            return Err(Complaint::new(Position::NONE, message));
        }
        Ok(Script { ast, check, on_event })
    }

    /// The syntax tree of a compiled script, for its literal.
    pub fn ast<'s>(&self, script: &'s Script) -> &'s AST {
        &script.ast
    }

    /// Calls a function of a script. Whatever goes wrong in it is a complaint with its place.
    pub fn call(
        &self,
        script: &Script,
        function: &str,
        this: Option<&mut Dynamic>,
        args: impl FuncArgs,
    ) -> Result<Dynamic, Complaint> {
        let mut scope = Scope::new();
        let mut options = CallFnOptions::new().eval_ast(false);
        options.this_ptr = this;
        let call =
            || self.engine.call_fn_with_options::<Dynamic>(options, &mut scope, &script.ast, function, args);
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(complaint_of(*error)),
            Err(_) => Err(Complaint::new(Position::NONE, "the script engine panicked")),
        }
        .map_err(|complaint| script.placed(function, complaint))
    }
}

/// The innermost error: the outer ones only say in which function it happened.
fn complaint_of(error: EvalAltResult) -> Complaint {
    match error {
        EvalAltResult::ErrorInFunctionCall(_, _, inner, _) => complaint_of(*inner),
        EvalAltResult::ErrorTooManyOperations(position) => {
            let message = format!("no result after {OPERATIONS_MAX} operations, expected a loop that ends");
            Complaint::new(position, message)
        }
        mut error => {
            let position = error.take_position();
            Complaint::new(position, error.to_string())
        }
    }
}

/// How much a value holds: entries of lists and maps, and bytes of texts, all the way down.
pub fn size_of(value: &Dynamic) -> usize {
    if let Ok(map) = value.as_map_ref() {
        return map.iter().map(|(name, value)| 1 + name.len() + size_of(value)).sum();
    }
    if let Ok(list) = value.as_array_ref() {
        return list.iter().map(|value| 1 + size_of(value)).sum();
    }
    value.as_immutable_string_ref().map_or(1, |text| 1 + text.len())
}

/// A literal as the script sees it.
pub fn dynamic_of(value: &LiteralValue) -> Dynamic {
    match value {
        LiteralValue::Int(value) => (*value).into(),
        LiteralValue::Float(value) => (*value).into(),
        LiteralValue::Bool(value) => (*value).into(),
        LiteralValue::Text(text) => text.clone().into(),
        LiteralValue::List(items) => {
            items.iter().map(|item| dynamic_of(&item.value)).collect::<rhai::Array>().into()
        }
        LiteralValue::Map(entries) => {
            let pairs =
                entries.iter().map(|entry| (entry.name.as_str().into(), dynamic_of(&entry.literal.value)));
            pairs.collect::<rhai::Map>().into()
        }
    }
}

/// What a window says, as the script sees it.
pub fn dynamic_of_shown(window: &Window, shown: Shown) -> Dynamic {
    let Assessed { assessment, reported_s } = match shown {
        Shown::Number(reading) => return dynamic_of_reading(reading),
        Shown::Assessed(assessed) => assessed,
    };
    let known = |value: f64| if value.is_finite() { value.into() } else { Dynamic::UNIT };
    let fields: [(&str, Dynamic); 8] = [
        ("value", dynamic_of_reading(window.reading(assessment.value))),
        ("score", assessment.score.into()),
        ("expected", known(assessment.expected)),
        ("lower", known(assessment.lower)),
        ("upper", known(assessment.upper)),
        ("warm", assessment.warm.into()),
        ("tier", (assessment.tier as i64).into()),
        ("reported_s", reported_s.map_or(Dynamic::UNIT, Dynamic::from)),
    ];
    fields.into_iter().map(|(name, value)| (name.into(), value)).collect::<rhai::Map>().into()
}

fn dynamic_of_reading(reading: Reading) -> Dynamic {
    match reading {
        Reading::Nothing => Dynamic::UNIT,
        Reading::Int(value) => value.into(),
        Reading::Float(value) => value.into(),
    }
}

impl Function {
    fn find(
        ast: &AST,
        name: &str,
        params: std::ops::RangeInclusive<usize>,
    ) -> Result<Option<Function>, Complaint> {
        let Some(found) = ast.iter_functions().find(|function| function.name == name) else {
            return Ok(None);
        };
        if !params.contains(&found.params.len()) {
            let message =
                format!("fn {name} takes {} arguments, expected {}", found.params.len(), params.end());
            return Err(Complaint::new(Position::NONE, message));
        }
        let names: Vec<String> = found.params.iter().map(|param| param.to_string()).collect();
        // A tree of this function alone, because the walk does not say which function it is in.
        let only_this =
            ast.clone_functions_only_filtered(|_, _, is_script, other, _| is_script && other == name);
        let mut function = Function {
            body: Vec::new(),
            params: names,
            reads: Vec::new(),
            escapes: Vec::new(),
            place: Position::NONE,
        };
        only_this.walk(&mut |path: &[ASTNode]| {
            function.visit(path);
            true
        });
        if function.place.is_none() {
            function.place = function.body.last().map_or(Position::NONE, Stmt::position);
        }
        Ok(Some(function))
    }

    fn visit(&mut self, path: &[ASTNode]) {
        if let Some(ASTNode::Stmt(Stmt::While(_, at) | Stmt::Do(_, _, at) | Stmt::For(_, at))) = path.last()
            && self.place.is_none()
        {
            self.place = *at;
        }
        match path {
            [ASTNode::Stmt(statement)] => self.body.push((*statement).clone()),
            [before @ .., ASTNode::Expr(Expr::Variable(variable, _, position))] => {
                let Some(param) = self.params.iter().position(|param| *param == *variable.1) else { return };
                let is_read = matches!(
                    before.last(),
                    Some(ASTNode::Expr(Expr::Dot(dot, _, _))) if is_variable(&dot.lhs, &variable.1)
                );
                if !is_read {
                    self.escapes.push((param, *position));
                }
            }
            [.., ASTNode::Expr(Expr::Dot(dot, _, position))] => {
                let Expr::Variable(variable, _, _) = &dot.lhs else { return };
                let Some(param) = self.params.iter().position(|param| *param == *variable.1) else { return };
                let mut path = Vec::new();
                property_names(&dot.rhs, &mut path);
                if path.is_empty() {
                    // A method of the whole, as `e.get("height")`: nobody can tell what it reads.
                    self.escapes.push((param, *position));
                } else {
                    self.reads.push(FieldRead { param, path, position: *position });
                }
            }
            _ => {}
        }
    }

    /// The fields read of one parameter.
    pub fn reads_of(&self, param: usize) -> impl Iterator<Item = &FieldRead> {
        self.reads.iter().filter(move |read| read.param == param)
    }
}

fn is_variable(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Variable(variable, _, _) if variable.1 == name)
}

fn property_names(expr: &Expr, names: &mut Vec<String>) {
    match expr {
        Expr::Property(property, _) => names.push(property.2.to_string()),
        Expr::Dot(dot, _, _) => {
            property_names(&dot.lhs, names);
            // A method call ends the chain: what it returns is no field of ours.
            if matches!(dot.lhs, Expr::Property(..)) {
                property_names(&dot.rhs, names);
            }
        }
        // What is behind the index belongs to the element.
        Expr::Index(index, _, _) => property_names(&index.lhs, names),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(body: &str, expected: &str) {
        let sandbox = Sandbox::new();
        let text = format!("fn check(w, params) {{ {body} }}");
        let error = match sandbox.compile(&text) {
            Err(complaint) => complaint.to_string(),
            Ok(script) => {
                let args = (rhai::Map::new(), rhai::Map::new());
                sandbox.call(&script, "check", None, args).expect_err("nothing refused it").to_string()
            }
        };
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_script_cannot_sleep() {
        check_refused("sleep(1)", "cannot sleep");
        check_refused("sleep(1.5)", "cannot sleep");
    }

    #[test]
    fn a_script_cannot_run_text() {
        check_refused("eval(\"1\")", "eval");
    }

    #[test]
    fn a_script_cannot_read_files() {
        check_refused("import \"/etc/passwd\" as x;", "import");
    }

    #[test]
    fn a_script_cannot_run_for_ever() {
        check_refused("loop { }", "operations");
        check_refused("let x = 0; while true { x += 1; }", "operations");
        check_refused("let f = |x| x; for i in 0..100000000 { f.call(i); }", "operations");
    }

    #[test]
    fn a_script_cannot_recurse_for_ever() {
        let sandbox = Sandbox::new();
        let script = sandbox.compile("fn f(x) { f(x + 1) } fn check(w, params) { f(0) }").unwrap();
        let error = sandbox.call(&script, "check", None, (rhai::Map::new(), rhai::Map::new())).unwrap_err();
        assert!(error.to_string().contains("tack overflow"), "{error}");
    }

    #[test]
    fn a_script_cannot_grow_without_bound() {
        check_refused("let s = \"x\"; loop { s += s; }", "too large");
        check_refused("let a = []; loop { a.push(0); }", "too large");
        check_refused("let m = #{}; for i in 0..10000 { m[`${i}`] = i; }", "operations");
        check_refused("let s = \"\"; s.pad(2000000000, \"x\");", "too large");
    }

    #[test]
    fn a_script_cannot_reach_the_clock_or_the_output() {
        check_refused("timestamp()", "timestamp");
        // Printing is allowed and goes nowhere.
        let sandbox = Sandbox::new();
        let script = sandbox.compile("fn check(w, params) { print(\"x\"); debug(1); }").unwrap();
        let returned = sandbox.call(&script, "check", None, (rhai::Map::new(), rhai::Map::new())).unwrap();
        assert!(returned.is_unit());
    }

    #[test]
    fn a_misspelt_variable_is_found_when_compiling() {
        let error = Sandbox::new().compile("fn check(w, params) {\n  wx.count > 1\n}").unwrap_err();
        assert_eq!(error.position.line(), Some(2), "{error:?}");
    }

    #[test]
    fn a_deep_expression_is_refused_and_not_an_overflow() {
        let body = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
        check_refused(&body, "omplex");
    }

    #[test]
    fn reads_of_fields_are_known_with_their_places() {
        let script = Sandbox::new()
            .compile("fn check(w, params) {\n  let x = w.count + params.max;\n  if x > w.key.peer_id.len() { x } }")
            .unwrap();
        let check = script.check.unwrap();
        let reads: Vec<String> = check.reads.iter().map(|read| read.path.join(".")).collect();
        assert_eq!(reads, ["count", "max", "key.peer_id"]);
        assert_eq!(check.reads[2].position.line(), Some(3));
        assert!(check.escapes.is_empty());
    }
}
