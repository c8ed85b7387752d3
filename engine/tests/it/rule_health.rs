//! Scripts that err on some keys: the others are looked at all the same.

use tocsin_engine::engine::{Engine, Input};

use super::stream::{self, Fact, Recorded};

fn take(engine: &mut Engine, at_ms: i64, fact: Fact) -> Vec<String> {
    let event = Recorded { node: "ada", at_ms, received_ms: at_ms, fact };
    let changes = engine.step(Input::Event { frame: event.frame(true), node: "", origin: 0 });
    changes.iter().map(|change| format!("{} {}", change.state.name(), change.summary)).collect()
}

#[test]
fn keys_behind_many_that_err_are_looked_at_in_their_turn() {
    let rule = include_str!("rules/errs_on_most.rhai");
    let mut engine = Engine::new(stream::library(&[("errs", rule)]));
    for peer_id in 0..60 {
        take(&mut engine, peer_id as i64, Fact::Message { peer_id, size: 1, times: 1 });
    }
    // Sixteen errors, then a pause twice as long each time: 1, 2, 4 s. The fourth look reaches the last.
    let said: Vec<String> = (1..20).flat_map(|n| take(&mut engine, n * 1_000, Fact::Uptime(1))).collect();
    assert_eq!(said, ["firing peer 59"]);
}

#[test]
fn an_error_of_on_event_pauses_its_own_key_only() {
    let rule = include_str!("rules/strikes.rhai");
    let mut engine = Engine::new(stream::library(&[("strikes", rule)]));
    let strike = |peer_id, message| Fact::Misbehaving { peer_id, message };
    let mut said = Vec::new();
    for (at_ms, fact) in [
        (0, strike(1, "throw")),
        (100, strike(2, "other")),
        (200, strike(1, "missed")),
        (5_100, strike(1, "seen")),
        (5_200, strike(2, "other")),
    ] {
        said.extend(take(&mut engine, at_ms, fact));
    }
    said.extend(take(&mut engine, 6_000, Fact::Uptime(1)));
    assert_eq!(said, ["firing [\"other\"] other", "firing [\"throw\", \"seen\"] seen"]);
    let health = &engine.rules()[0].health;
    assert_eq!((health.failures, health.skipped), (1, 1));
}

#[test]
fn a_storm_of_errors_pauses_the_rule() {
    let rule = include_str!("rules/strikes.rhai");
    let mut engine = Engine::new(stream::library(&[("strikes", rule)]));
    for peer_id in 0..1_000 {
        take(&mut engine, peer_id as i64, Fact::Misbehaving { peer_id, message: "throw" });
    }
    take(&mut engine, 3_000, Fact::Uptime(1));
    let health = &engine.rules()[0].health;
    assert_eq!((health.failures, health.skipped), (16, 984));
}
