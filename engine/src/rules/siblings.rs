//! What scripts may ask about a fleet: `outliers(values, floor)`, of [`crate::detectors::fleet`].

use rhai::{Array, Dynamic, Engine, EvalAltResult, Map};

use crate::detectors::fleet::{Outlier, outliers};

/// Values at most: there are no more nodes, and each outlier is compared with all others.
const VALUES_MAX: usize = 1024;

/// Makes `outliers` known to scripts.
///
/// `values` is a list of numbers, one a node, `()` where there is none; `floor` the least difference that matters. The
/// answer is a list with `#{ index, value, typical, limit }` for each value unlike the others.
pub(super) fn register(engine: &mut Engine) {
    engine.register_fn("outliers", |values: Array, floor: f64| of_array(&values, floor));
    engine.register_fn("outliers", |values: Array, floor: i64| of_array(&values, floor as f64));
}

fn of_array(values: &Array, floor: f64) -> Result<Array, Box<EvalAltResult>> {
    if values.len() > VALUES_MAX {
        return Err(format!("outliers: {} values, expected at most {VALUES_MAX}", values.len()).into());
    }
    if floor.is_nan() || floor < 0.0 {
        return Err(format!("outliers: the floor is {floor}, expected a number from 0 up").into());
    }
    let numbers = values.iter().map(number).collect::<Result<Vec<_>, _>>()?;
    Ok(outliers(&numbers, floor).iter().map(map_of).collect())
}

fn number(value: &Dynamic) -> Result<Option<f64>, Box<EvalAltResult>> {
    if value.is_unit() {
        return Ok(None);
    }
    let number = value.as_float().or_else(|_| value.as_int().map(|value| value as f64));
    number.map(Some).map_err(|found| format!("outliers: found a {found}, expected numbers and ()").into())
}

fn map_of(outlier: &Outlier) -> Dynamic {
    let entries: [(&str, Dynamic); 4] = [
        ("index", (outlier.index as i64).into()),
        ("value", outlier.value.into()),
        ("typical", outlier.typical.into()),
        ("limit", outlier.limit.into()),
    ];
    entries.into_iter().map(|(name, value)| (name.into(), value)).collect::<Map>().into()
}

#[cfg(test)]
mod tests {
    use crate::rules::script::Sandbox;

    #[track_caller]
    fn check(body: &str, expected: Result<&str, &str>) {
        let sandbox = Sandbox::new();
        let script = sandbox.compile(&format!("fn check(w, params) {{ {body} }}")).expect("it compiles");
        let said = sandbox.call(&script, "check", None, (rhai::Map::new(), rhai::Map::new()));
        match (said, expected) {
            (Ok(said), Ok(expected)) => assert_eq!(said.to_string(), expected),
            (Err(said), Err(expected)) => assert!(said.to_string().contains(expected), "{said}"),
            (said, expected) => panic!("{said:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_script_learns_which_value_is_unlike_the_others_and_by_how_much() {
        check(
            "let odd = outliers([8, 8.0, (), 0, 8, 8], 2)[0]; `${odd.index} ${odd.value} ${odd.typical} ${odd.limit}`",
            Ok("3 0.0 8.0 6.0"),
        );
        check("outliers([8, 8, 8, 8], 2).len()", Ok("0"));
    }

    #[test]
    fn what_is_no_number_is_an_error_that_says_what_would_be_right() {
        check("outliers([8, \"x\", 8, 8], 2)", Err("found a string, expected numbers and ()"));
        check("outliers([8, 8, 8, 8], -1)", Err("expected a number from 0 up"));
        check(
            "let all = []; for i in 0..1025 { all.push(i); } outliers(all, 1)",
            Err("1025 values, expected at most 1024"),
        );
    }
}
