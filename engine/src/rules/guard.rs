//! A native reading of a rule's `check` that knows when it certainly finds nothing.
//!
//! Most keys are quiet at most ticks, and a script call costs a microsecond. The guard walks the same syntax tree as
//! the script, as far as it is arithmetic, comparisons and `if`, in some nanoseconds. Where it is certain that the
//! script would return nothing, the script need not run; where it is certain that the script gets to a finding, a
//! firing alert may go on without it for a while. In every other case (an error, a construct the guard does not know)
//! the script itself runs and decides.

use rhai::{ASTFlags, Expr, FnCallExpr, Stmt};

use super::literal::LiteralValue;
use super::script::Function;
use crate::detectors::Assessment;
use crate::windows::{Reading, Shown};

/// The guard of one `check` under one set of parameters.
#[derive(Debug, Clone)]
pub struct Guard {
    body: Vec<Step>,
    locals: usize,
}

/// What a guard knows about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// The script would return nothing.
    Quiet,
    /// The script would get as far as putting a finding together.
    Finding,
    /// Only the script can tell.
    Unsure,
}

#[derive(Debug, Clone)]
enum Step {
    Let(usize, Term),
    If(Term, Vec<Step>, Vec<Step>),
    /// Leaves the function with nothing.
    ReturnNothing,
    /// Ends the function with a finding.
    Finding,
    /// A statement that does nothing and has no value.
    Nothing,
    /// Something the guard does not know.
    Unknown,
}

#[derive(Debug, Clone)]
enum Term {
    Constant(Known),
    Window(usize),
    Part(Box<Term>, Part),
    Filled,
    Local(usize),
    Not(Box<Term>),
    Minus(Box<Term>),
    Binary(Operator, Box<(Term, Term)>),
    And(Vec<Term>),
    Or(Vec<Term>),
    Unknown,
}

/// A value the guard computes with, as the script would hold it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Known {
    Int(i64),
    Float(f64),
    Bool(bool),
    Unit,
    /// What an anomaly window says, by its number.
    Assessed(usize),
}

/// A field of what an anomaly window says. The sample itself may be a whole number or not: it is left to the script.
#[derive(Debug, Clone, Copy)]
enum Part {
    Score,
    Expected,
    Lower,
    Upper,
    Warm,
    Tier,
}

impl Part {
    fn named(name: &str) -> Option<Part> {
        Some(match name {
            "score" => Part::Score,
            "expected" => Part::Expected,
            "lower" => Part::Lower,
            "upper" => Part::Upper,
            "warm" => Part::Warm,
            "tier" => Part::Tier,
            _ => return None,
        })
    }

    fn of(self, assessment: &Assessment) -> Known {
        let known = |value: f64| if value.is_finite() { Known::Float(value) } else { Known::Unit };
        match self {
            Part::Score => Known::Float(assessment.score),
            Part::Expected => known(assessment.expected),
            Part::Lower => known(assessment.lower),
            Part::Upper => known(assessment.upper),
            Part::Warm => Known::Bool(assessment.warm),
            Part::Tier => Known::Int(assessment.tier as i64),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// How a block ended.
enum Flow {
    /// It ran to its end, and its value is nothing.
    Through,
    Returned,
    Finding,
    Unsure,
}

/// Names the guard can resolve while it is made.
struct Names<'a> {
    windows: &'a [String],
    params: &'a [(String, LiteralValue)],
    window_param: &'a str,
    params_param: &'a str,
    /// Locals in scope, innermost last, with their numbers.
    locals: Vec<(String, usize)>,
    locals_made: usize,
}

impl Guard {
    /// The guard of a `check` whose windows and parameters have these names and values.
    pub fn new(check: &Function, windows: &[String], params: &[(String, LiteralValue)]) -> Self {
        let mut names = Names {
            windows,
            params,
            window_param: &check.params[0],
            params_param: &check.params[1],
            locals: Vec::new(),
            locals_made: 0,
        };
        let body = names.block(&check.body, true);
        Guard { body, locals: names.locals_made }
    }

    /// What the script would do for these readings.
    pub fn outlook(&self, shown: &impl Fn(usize) -> Shown, filled: bool) -> Outlook {
        // Few rules have more than a handful of locals; a larger frame goes to the heap.
        let mut few = [Known::Unit; 8];
        let mut many;
        let locals = if self.locals <= few.len() {
            &mut few[..]
        } else {
            many = vec![Known::Unit; self.locals];
            &mut many[..]
        };
        let mut frame = Frame { shown, filled, locals };
        match frame.run(&self.body) {
            Flow::Through | Flow::Returned => Outlook::Quiet,
            Flow::Finding => Outlook::Finding,
            Flow::Unsure => Outlook::Unsure,
        }
    }
}

impl Names<'_> {
    /// `is_tail`: the block's value is the function's.
    fn block(&mut self, statements: &[Stmt], is_tail: bool) -> Vec<Step> {
        let outer = self.locals.len();
        let last = statements.len().saturating_sub(1);
        let step = |(index, stmt): (usize, &Stmt)| self.step(stmt, is_tail && index == last);
        let steps = statements.iter().enumerate().map(step).collect();
        self.locals.truncate(outer);
        steps
    }

    fn step(&mut self, statement: &Stmt, is_tail: bool) -> Step {
        match statement {
            Stmt::Noop(_) => Step::Nothing,
            Stmt::Var(declared, _, _) => {
                let term = self.term(&declared.1);
                let local = self.locals_made;
                self.locals_made += 1;
                self.locals.push((declared.0.name.to_string(), local));
                Step::Let(local, term)
            }
            Stmt::If(flow, _) => {
                let condition = self.term(&flow.expr);
                let body = self.block(flow.body.statements(), is_tail);
                let branch = self.block(flow.branch.statements(), is_tail);
                Step::If(condition, body, branch)
            }
            Stmt::Return(value, flags, _) if !flags.intersects(ASTFlags::BREAK) => match value.as_deref() {
                None | Some(Expr::Unit(_)) => Step::ReturnNothing,
                Some(Expr::Map(..)) => Step::Finding,
                Some(_) => Step::Unknown,
            },
            // Assigning to a local anew is the same as declaring it there.
            Stmt::Assignment(assignment) if !assignment.0.is_op_assignment() => {
                match (&assignment.1.lhs, self.term(&assignment.1.rhs)) {
                    (Expr::Variable(variable, _, _), term) => match self.local(&variable.1) {
                        Some(local) => Step::Let(local, term),
                        None => Step::Unknown,
                    },
                    _ => Step::Unknown,
                }
            }
            Stmt::Expr(expr) if is_tail && matches!(**expr, Expr::Unit(_)) => Step::Nothing,
            Stmt::Expr(expr) if is_tail && matches!(**expr, Expr::Map(..)) => Step::Finding,
            _ => Step::Unknown,
        }
    }

    fn term(&mut self, expr: &Expr) -> Term {
        match expr {
            Expr::IntegerConstant(value, _) => Term::Constant(Known::Int(*value)),
            Expr::FloatConstant(value, _) => Term::Constant(Known::Float(**value)),
            Expr::BoolConstant(value, _) => Term::Constant(Known::Bool(*value)),
            Expr::Unit(_) => Term::Constant(Known::Unit),
            Expr::Variable(variable, _, _) => self.local(&variable.1).map_or(Term::Unknown, Term::Local),
            Expr::Dot(dot, _, _) => match (&dot.lhs, &dot.rhs) {
                (Expr::Variable(variable, _, _), Expr::Property(property, _)) => {
                    match self.local(&variable.1) {
                        Some(local) => part(Term::Local(local), &property.2),
                        None => self.field(&variable.1, &property.2),
                    }
                }
                (Expr::Variable(variable, _, _), Expr::Dot(inner, _, _)) => match (&inner.lhs, &inner.rhs) {
                    (Expr::Property(window, _), Expr::Property(property, _)) => {
                        part(self.field(&variable.1, &window.2), &property.2)
                    }
                    _ => Term::Unknown,
                },
                _ => Term::Unknown,
            },
            Expr::And(terms, _) => Term::And(terms.iter().map(|term| self.term(term)).collect()),
            Expr::Or(terms, _) => Term::Or(terms.iter().map(|term| self.term(term)).collect()),
            Expr::FnCall(call, _) => self.call(call),
            _ => Term::Unknown,
        }
    }

    fn local(&self, name: &str) -> Option<usize> {
        self.locals.iter().rev().find(|(known, _)| known == name).map(|(_, local)| *local)
    }

    fn field(&self, variable: &str, property: &str) -> Term {
        // A local of the same name hides the parameter.
        if self.locals.iter().any(|(name, _)| name == variable) {
            return Term::Unknown;
        }
        if variable == self.window_param {
            if property == "filled" {
                return Term::Filled;
            }
            let window = self.windows.iter().position(|name| name == property);
            return window.map_or(Term::Unknown, Term::Window);
        }
        if variable == self.params_param {
            let param = self.params.iter().find(|(name, _)| name == property);
            return match param.map(|(_, value)| value) {
                Some(LiteralValue::Int(value)) => Term::Constant(Known::Int(*value)),
                Some(LiteralValue::Float(value)) => Term::Constant(Known::Float(*value)),
                Some(LiteralValue::Bool(value)) => Term::Constant(Known::Bool(*value)),
                _ => Term::Unknown,
            };
        }
        Term::Unknown
    }

    fn call(&mut self, call: &FnCallExpr) -> Term {
        if call.op_token.is_none() {
            return Term::Unknown;
        }
        match (call.name.as_str(), call.args.as_slice()) {
            ("!", [term]) => Term::Not(Box::new(self.term(term))),
            ("-", [term]) => Term::Minus(Box::new(self.term(term))),
            (name, [left, right]) => match operator(name) {
                Some(operator) => Term::Binary(operator, Box::new((self.term(left), self.term(right)))),
                None => Term::Unknown,
            },
            _ => Term::Unknown,
        }
    }
}

fn part(whole: Term, name: &str) -> Term {
    Part::named(name).map_or(Term::Unknown, |part| Term::Part(Box::new(whole), part))
}

fn operator(name: &str) -> Option<Operator> {
    Some(match name {
        "+" => Operator::Add,
        "-" => Operator::Subtract,
        "*" => Operator::Multiply,
        "/" => Operator::Divide,
        "%" => Operator::Remainder,
        "<" => Operator::Less,
        "<=" => Operator::LessOrEqual,
        ">" => Operator::Greater,
        ">=" => Operator::GreaterOrEqual,
        "==" => Operator::Equal,
        "!=" => Operator::NotEqual,
        _ => return None,
    })
}

struct Frame<'f, R> {
    shown: &'f R,
    filled: bool,
    locals: &'f mut [Known],
}

impl<R: Fn(usize) -> Shown> Frame<'_, R> {
    fn run(&mut self, steps: &[Step]) -> Flow {
        for step in steps {
            match step {
                Step::Nothing => {}
                Step::ReturnNothing => return Flow::Returned,
                Step::Finding => return Flow::Finding,
                Step::Unknown => return Flow::Unsure,
                Step::Let(local, term) => match self.eval(term) {
                    Some(value) => self.locals[*local] = value,
                    None => return Flow::Unsure,
                },
                Step::If(condition, body, branch) => {
                    let taken = match self.eval(condition) {
                        Some(Known::Bool(true)) => body,
                        Some(Known::Bool(false)) => branch,
                        _ => return Flow::Unsure,
                    };
                    match self.run(taken) {
                        Flow::Through => {}
                        ended => return ended,
                    }
                }
            }
        }
        Flow::Through
    }

    /// The value of a term; `None` where the script could err or the guard does not know.
    fn eval(&self, term: &Term) -> Option<Known> {
        match term {
            Term::Constant(value) => Some(*value),
            Term::Window(window) => Some(match (self.shown)(*window) {
                Shown::Number(Reading::Nothing) => Known::Unit,
                Shown::Number(Reading::Int(value)) => Known::Int(value),
                Shown::Number(Reading::Float(value)) => Known::Float(value),
                Shown::Assessed(_) => Known::Assessed(*window),
            }),
            Term::Part(whole, part) => match self.eval(whole)? {
                Known::Assessed(window) => match (self.shown)(window) {
                    Shown::Assessed(assessed) => Some(part.of(&assessed.assessment)),
                    Shown::Number(_) => None,
                },
                _ => None,
            },
            Term::Filled => Some(Known::Bool(self.filled)),
            Term::Local(local) => Some(self.locals[*local]),
            Term::Not(term) => match self.eval(term)? {
                Known::Bool(value) => Some(Known::Bool(!value)),
                _ => None,
            },
            Term::Minus(term) => match self.eval(term)? {
                Known::Int(value) => value.checked_neg().map(Known::Int),
                Known::Float(value) => Some(Known::Float(-value)),
                _ => None,
            },
            Term::Binary(operator, terms) => binary(*operator, self.eval(&terms.0)?, self.eval(&terms.1)?),
            Term::And(terms) => self.all(terms, true),
            Term::Or(terms) => self.all(terms, false),
            Term::Unknown => None,
        }
    }

    /// `&&` (goes on while true) or `||` (goes on while false), left to right.
    fn all(&self, terms: &[Term], goes_on: bool) -> Option<Known> {
        for term in terms {
            match self.eval(term)? {
                Known::Bool(value) if value == goes_on => {}
                Known::Bool(value) => return Some(Known::Bool(value)),
                _ => return None,
            }
        }
        Some(Known::Bool(goes_on))
    }
}

fn binary(operator: Operator, left: Known, right: Known) -> Option<Known> {
    match (left, right) {
        (Known::Int(left), Known::Int(right)) => ints(operator, left, right),
        (Known::Int(left), Known::Float(right)) => floats(operator, left as f64, right),
        (Known::Float(left), Known::Int(right)) => floats(operator, left, right as f64),
        (Known::Float(left), Known::Float(right)) => floats(operator, left, right),
        (Known::Assessed(_), Known::Assessed(_)) => None,
        // Values of different types are unequal and neither is less; arithmetic with them is an error.
        (Known::Unit, Known::Unit) | (Known::Bool(_), Known::Bool(_)) => match operator {
            Operator::Equal => Some(Known::Bool(left == right)),
            Operator::NotEqual => Some(Known::Bool(left != right)),
            _ => None,
        },
        _ => match operator {
            Operator::Equal
            | Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => Some(Known::Bool(false)),
            Operator::NotEqual => Some(Known::Bool(true)),
            _ => None,
        },
    }
}

fn ints(operator: Operator, left: i64, right: i64) -> Option<Known> {
    let number = |value: Option<i64>| value.map(Known::Int);
    match operator {
        Operator::Add => number(left.checked_add(right)),
        Operator::Subtract => number(left.checked_sub(right)),
        Operator::Multiply => number(left.checked_mul(right)),
        Operator::Divide => number(left.checked_div(right)),
        Operator::Remainder => number(left.checked_rem(right)),
        _ => Some(Known::Bool(compare(operator, left.cmp(&right)))),
    }
}

fn floats(operator: Operator, left: f64, right: f64) -> Option<Known> {
    match operator {
        Operator::Add => Some(Known::Float(left + right)),
        Operator::Subtract => Some(Known::Float(left - right)),
        Operator::Multiply => Some(Known::Float(left * right)),
        Operator::Divide => Some(Known::Float(left / right)),
        Operator::Remainder => Some(Known::Float(left % right)),
        _ if distinct_or_equal(left, right) => {
            left.partial_cmp(&right).map(|order| Known::Bool(compare(operator, order)))
        }
        _ => None,
    }
}

/// Whether two floats are finite, and either equal or so far apart that a comparison of the script sees it.
///
/// Rhai compares floats with a tolerance: of `f64::EPSILON` relative to the larger one, or absolute where their product
/// is 0, which it also is for very small ones (`func/builtin.rs`). What is near that tolerance is left to the script.
fn distinct_or_equal(left: f64, right: f64) -> bool {
    let scale = if left * right == 0.0 { 1.0 } else { left.abs().max(right.abs()) };
    left.is_finite()
        && right.is_finite()
        && (left == right || (left - right).abs() / scale > 2.0 * f64::EPSILON)
}

fn compare(operator: Operator, order: std::cmp::Ordering) -> bool {
    match operator {
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
        Operator::Equal => order.is_eq(),
        _ => order.is_ne(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detectors::Tier;
    use crate::rules::script::{Sandbox, dynamic_of_shown};
    use crate::windows::watch::Assessed;
    use crate::windows::{Aggregate, Window};

    const WINDOWS: [&str; 3] = ["a", "b", "c"];

    /// Runs guard and script over the same readings: what the guard says, and whether the script does not contradict
    /// it. `None` for a text that does not compile.
    fn agree(text: &str, shown: [Shown; 3], filled: bool) -> Option<(Outlook, bool)> {
        let sandbox = Sandbox::new();
        let script = sandbox.compile(text).ok()?;
        let params = vec![
            ("limit".to_string(), LiteralValue::Int(10)),
            ("factor".to_string(), LiteralValue::Float(1.5)),
        ];
        let windows: Vec<String> = WINDOWS.iter().map(|name| name.to_string()).collect();
        let guard = Guard::new(script.check.as_ref().unwrap(), &windows, &params);
        let outlook = guard.outlook(&|window| shown[window], filled);

        let mut w = rhai::Map::new();
        let window = Window { aggregate: Aggregate::Last, over_ms: 60_000, integers: true };
        for (name, shown) in WINDOWS.iter().zip(shown) {
            w.insert((*name).into(), dynamic_of_shown(&window, shown));
        }
        w.insert("filled".into(), filled.into());
        let mut p = rhai::Map::new();
        p.insert("limit".into(), 10_i64.into());
        p.insert("factor".into(), 1.5_f64.into());
        let returned = sandbox.call(&script, "check", None, (w, p));
        let agrees = match outlook {
            Outlook::Quiet => returned.is_ok_and(|value| value.is_unit()),
            Outlook::Finding => returned.is_ok_and(|value| value.is_map()),
            Outlook::Unsure => true,
        };
        Some((outlook, agrees))
    }

    #[track_caller]
    fn check(text: &str, readings: [Reading; 3], expected: Outlook) {
        let (outlook, agrees) = agree(text, readings.map(Shown::Number), true).expect("compiles");
        assert_eq!(outlook, expected);
        assert!(agrees, "the guard is sure and the script disagrees");
    }

    const TYPICAL: &str = "fn check(w, params) {
        if !w.filled || w.b == () { return; }
        let allowed = params.limit + 1000 * w.b;
        if w.a > allowed && w.c >= 0.5 { #{ value: w.a, limit: allowed, summary: `x` } }
    }";

    #[test]
    fn a_quiet_key_is_recognised() {
        check(TYPICAL, [Reading::Int(5), Reading::Int(0), Reading::Float(1.0)], Outlook::Quiet);
        check(TYPICAL, [Reading::Int(5), Reading::Nothing, Reading::Float(1.0)], Outlook::Quiet);
    }

    #[test]
    fn a_finding_is_recognised() {
        check(TYPICAL, [Reading::Int(11), Reading::Int(0), Reading::Float(1.0)], Outlook::Finding);
    }

    #[test]
    fn an_error_is_left_to_the_script() {
        check(TYPICAL, [Reading::Int(11), Reading::Int(i64::MAX), Reading::Float(1.0)], Outlook::Unsure);
        check(
            "fn check(w, params) { let x = w.a / w.b; }",
            [Reading::Int(1), Reading::Int(0), Reading::Nothing],
            Outlook::Unsure,
        );
    }

    #[test]
    fn a_map_that_is_not_the_functions_value_is_no_finding() {
        check(
            "fn check(w, params) { if w.a > 0 { #{ value: 1 } } let x = 1; }",
            [Reading::Int(1); 3],
            Outlook::Unsure,
        );
    }

    #[test]
    fn floats_that_the_script_takes_for_equal_are_left_to_it() {
        let text = "fn check(w, params) { if w.a < w.b { return; } #{ value: 1 } }";
        for (a, b) in [(1e-308, 2e-308), (1.0, 1.0 + f64::EPSILON), (0.0, 1e-17), (1.0, f64::INFINITY)] {
            check(text, [Reading::Float(a), Reading::Float(b), Reading::Nothing], Outlook::Unsure);
        }
        check(text, [Reading::Float(1.0), Reading::Float(1.1), Reading::Nothing], Outlook::Quiet);
        check(text, [Reading::Float(1.0), Reading::Float(1.0), Reading::Nothing], Outlook::Finding);
    }

    #[test]
    fn what_a_detector_says_is_read_without_the_script() {
        let text = "fn check(w, params) {
            let a = w.a;
            if a == () || w.a.tier < 2 || !a.warm { return; }
            #{ value: a.value, limit: a.upper }
        }";
        let said = |tier| {
            let assessment = Assessment { tier, warm: true, ..Assessment::unknown(7.0) };
            [
                Shown::Assessed(Assessed { assessment, reported_s: None }),
                Shown::Number(Reading::Nothing),
                Shown::Number(Reading::Int(1)),
            ]
        };
        let sure = |shown| agree(text, shown, true);
        assert_eq!(sure([Shown::Number(Reading::Nothing); 3]), Some((Outlook::Quiet, true)));
        assert_eq!(sure(said(Tier::Note)), Some((Outlook::Quiet, true)));
        assert_eq!(sure(said(Tier::Page)), Some((Outlook::Finding, true)));
        // Not of a number, and not what is unknown.
        assert_eq!(
            sure([Shown::Number(Reading::Int(1)); 3]).map(|(outlook, _)| outlook),
            Some(Outlook::Unsure)
        );
        let text = "fn check(w, params) { if w.a > 1 || w.a.lower > 1 { return; } #{ value: 1 } }";
        assert_eq!(agree(text, said(Tier::Page), true), Some((Outlook::Finding, true)));
    }

    #[test]
    fn what_the_guard_does_not_know_is_left_to_the_script() {
        check("fn check(w, params) { for i in 0..3 { } }", [Reading::Nothing; 3], Outlook::Unsure);
        check(
            "fn check(w, params) { let x = w.a; x += 1; if x > 9 { #{} } }",
            [Reading::Int(1); 3],
            Outlook::Unsure,
        );
    }

    fn reading() -> impl Strategy<Value = Reading> {
        prop_oneof![
            Just(Reading::Nothing),
            (-20_i64..20).prop_map(Reading::Int),
            any::<i64>().prop_map(Reading::Int),
            (-20.0..20.0_f64).prop_map(Reading::Float),
            any::<f64>().prop_map(Reading::Float),
        ]
    }

    fn shown() -> impl Strategy<Value = Shown> {
        let number = || prop_oneof![(-20..20_i32).prop_map(f64::from), any::<f64>()];
        let tier = proptest::sample::select(vec![Tier::Usual, Tier::Note, Tier::Warning, Tier::Page]);
        let assessed = (number(), 0.0..1.0_f64, number(), number(), number(), any::<bool>(), tier).prop_map(
            |(value, score, expected, lower, upper, warm, tier)| {
                let assessment = Assessment { value, score, expected, lower, upper, warm, tier };
                Shown::Assessed(Assessed { assessment, reported_s: None })
            },
        );
        prop_oneof![3 => reading().prop_map(Shown::Number), 1 => assessed]
    }

    fn term() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("w.a".to_string()),
            Just("w.b".to_string()),
            Just("w.c".to_string()),
            Just("w.filled".to_string()),
            Just("w.c.tier".to_string()),
            Just("w.c.score".to_string()),
            Just("w.c.warm".to_string()),
            Just("w.c.lower".to_string()),
            Just("w.a.upper".to_string()),
            Just("x.expected".to_string()),
            Just("params.limit".to_string()),
            Just("params.factor".to_string()),
            Just("()".to_string()),
            Just("true".to_string()),
            (-9_i64..9).prop_map(|n| format!("({n})")),
            (-9.0..9.0_f64).prop_map(|n| format!("({n:.2})")),
        ];
        leaf.prop_recursive(3, 12, 2, |inner| {
            let operators = ["+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "&&", "||"];
            prop_oneof![
                (inner.clone(), proptest::sample::select(operators.to_vec()), inner.clone())
                    .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
                inner.clone().prop_map(|term| format!("!({term})")),
                inner.prop_map(|term| format!("-({term})")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn where_the_guard_is_sure_the_script_agrees(
            first in term(), second in term(), third in term(),
            shown in [shown(), shown(), shown()],
            filled in any::<bool>(),
        ) {
            let text = format!(
                "fn check(w, params) {{ let x = {first}; if w.b > 0 {{ x = {second}; let x = 1; }} if {second} {{ return; }} else if {third} {{ #{{ value: x }} }} }}"
            );
            let agreement = agree(&text, shown, filled);
            prop_assume!(agreement.is_some());
            let (_, agrees) = agreement.expect("assumed above");
            prop_assert!(agrees, "{}", text);
        }
    }
}
