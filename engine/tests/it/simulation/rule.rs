//! The generic rule as it is shipped: its own script says what it finds.

use std::sync::Arc;

use rhai::{AST, Dynamic, Engine, Map, Scope};
use tocsin_engine::detectors::{Assessment, Tier};

use super::alarm::Knobs;
use super::series::{Subject, read};

/// The rule of one series.
#[derive(Clone)]
pub struct Rule {
    script: Arc<(Engine, AST)>,
    params: Map,
    pub knobs: Knobs,
}

/// What it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// Of a series without a norm: it wakes nobody.
    Information,
    Warning,
}

impl Rule {
    /// Reads `rules/anomaly/anomaly.rhai`.
    pub fn shipped() -> Self {
        let mut engine = Engine::new();
        // In a debug build rhai takes less than the engine's sandbox does.
        engine.set_max_expr_depths(64, 64);
        let ast = engine.compile(read("anomaly.rhai")).expect("the rule is a script");
        let mut scope = Scope::new();
        engine.run_ast_with_scope(&mut scope, &ast).expect("the rule is plain data and functions");
        let rule: Map = scope.get_value("RULE").expect("the rule says what it is");
        let seconds = |key: &str| rule.get(key).and_then(|value| value.as_int().ok()).unwrap_or(0);
        let knobs = Knobs { for_s: seconds("for_s"), keep_firing_for_s: seconds("keep_firing_for_s") };
        let params = rule.get("params").cloned().and_then(Dynamic::try_cast).unwrap_or_default();
        Rule { script: Arc::new((engine, ast)), params, knobs }
    }

    /// The same for one series.
    pub fn of(&self, subject: &Subject) -> Self {
        let mut rule = self.clone();
        rule.params.insert("series".into(), subject.series.clone().into());
        rule.params.insert("unit".into(), "".into());
        rule.params.insert("effect_min".into(), subject.effect_min.into());
        rule.params.insert("step".into(), "".into());
        rule.params.insert("per".into(), "".into());
        rule
    }

    /// What it finds in an assessment.
    pub fn check(&self, said: &Assessment, reported_s: Option<i64>) -> Found {
        let is_usual = said.tier == Tier::Usual && !(said.value < said.lower || said.value > said.upper);
        if is_usual {
            return Found::Nothing;
        }
        let known = |value: f64| if value.is_finite() { value.into() } else { Dynamic::UNIT };
        let fields: [(&str, Dynamic); 8] = [
            ("value", said.value.into()),
            ("score", said.score.into()),
            ("expected", known(said.expected)),
            ("lower", known(said.lower)),
            ("upper", known(said.upper)),
            ("warm", said.warm.into()),
            ("tier", (said.tier as i64).into()),
            ("reported_s", reported_s.map_or(Dynamic::UNIT, Dynamic::from)),
        ];
        let x: Map = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let w: Map = [("x".into(), x.into()), ("key".into(), Map::new().into())].into_iter().collect();
        let (engine, ast) = &*self.script;
        let found: Dynamic =
            engine.call_fn(&mut Scope::new(), ast, "check", (w, self.params.clone())).expect("the rule runs");
        let Some(finding) = found.try_cast::<Map>() else { return Found::Nothing };
        match finding.get("severity").and_then(|severity| severity.clone().into_string().ok()).as_deref() {
            Some("info") => Found::Information,
            _ => Found::Warning,
        }
    }
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule").field("params", &self.params).field("knobs", &self.knobs).finish()
    }
}
