//! Short numbers: `12.5k` for 12500.

/// Numbers from here on are cut to thousands, millions and so on.
const SHORTENED_FROM: f64 = 10_000.0;
/// Factors and their letters, the greatest first.
const LETTERS: [(f64, &str); 5] = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
/// Magnitudes outside are written as powers of ten.
const PLAIN: std::ops::Range<f64> = 0.01..1e18;

/// Three digits of it, or all of a whole number below 10000.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_string();
    }
    if !PLAIN.contains(&size) {
        return power_of_ten(value, 1);
    }
    let (factor, letter) = letter(size);
    let decimals = match size / factor {
        part if part >= 100.0 => 0,
        part if part >= 10.0 => 1,
        _ => 2,
    };
    format!("{}{letter}", trimmed(format!("{:.decimals$}", value / factor)))
}

/// Numbers of an axis: all with the same letter, and with the digits that tell neighbours apart.
pub fn of_axis(values: &[f64], step: f64) -> Vec<String> {
    let size = values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let write = |value: &f64| {
        if *value == 0.0 {
            return "0".to_string();
        }
        if !PLAIN.contains(&size) {
            return power_of_ten(*value, 1);
        }
        let (factor, letter) = letter(size);
        let decimals = decimals(step / factor);
        format!("{}{letter}", trimmed(format!("{:.decimals$}", value / factor)))
    };
    values.iter().map(write).collect()
}

fn letter(size: f64) -> (f64, &'static str) {
    if size < SHORTENED_FROM {
        return (1.0, "");
    }
    LETTERS.into_iter().find(|(factor, _)| size >= *factor).unwrap_or((1.0, ""))
}

/// Digits after the point that a step of 1, 2 or 5 times a power of ten needs.
fn decimals(step: f64) -> usize {
    (-step.log10().floor()).clamp(0.0, 9.0) as usize
}

fn power_of_ten(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$e}");
    text.replace(".0e", "e")
}

fn trimmed(text: String) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, expected: &str) {
        assert_eq!(short(value), expected);
    }

    #[test]
    fn small_whole_numbers_stay_as_they_are() {
        check(0.0, "0");
        check(5.0, "5");
        check(-1234.0, "-1234");
    }

    #[test]
    fn large_numbers_are_cut_to_three_digits() {
        check(12_500.0, "12.5k");
        check(4_000_000.0, "4M");
        check(987_654_321.0, "988M");
    }

    #[test]
    fn numbers_beyond_letters_are_powers_of_ten() {
        check(1e30, "1e30");
        check(-0.00012, "-1.2e-4");
    }

    #[test]
    fn neighbours_on_an_axis_differ() {
        assert_eq!(of_axis(&[800_000.0, 800_002.0], 2.0), ["800k", "800.002k"]);
        assert_eq!(of_axis(&[0.0, 0.05, 0.1], 0.05), ["0", "0.05", "0.1"]);
    }
}
