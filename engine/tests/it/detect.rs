//! `tocsin detect`, from outside.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::{root, stderr, stdout, tocsin};

const HEADER: &str = "timestamp,value,anomaly_score,expected,lower,upper";
/// Midnight of 1 November 2026.
const START_S: i64 = 1_793_491_200;
/// What the help calls a report.
const REPORT: f64 = 0.984;
/// The most that another row gets.
const UNREPORTED_MAX: f64 = 0.98;

/// A day's season with noise, every `step_s` seconds; and its extraordinary rows.
fn season(rows: i64, step_s: i64, extraordinary: &[(i64, f64)]) -> Vec<(i64, f64)> {
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24) - 0.5
    };
    let row = |number: i64| {
        let at_s = START_S + number * step_s;
        let usual = 100.0 + 30.0 * (std::f64::consts::TAU * at_s as f64 / 86_400.0).sin() + 8.0 * noise();
        let found = extraordinary.iter().find(|(other, _)| *other == number);
        (at_s, found.map_or((usual * 10.0).round() / 10.0, |(_, value)| *value))
    };
    (0..rows).map(row).collect()
}

fn csv(rows: &[(i64, f64)]) -> String {
    let rows = rows.iter().map(|(at_s, value)| format!("{at_s},{value}\n"));
    std::iter::once("timestamp,value\n".to_string()).chain(rows).collect()
}

/// Writes a file and runs the program on it.
fn detect(text: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    detect_in(folder.path(), text, more)
}

fn detect_in(folder: &Path, text: &str, more: &[&str]) -> Output {
    let path = folder.join("series.csv");
    fs::write(&path, text).expect("writable");
    let path = path.display().to_string();
    tocsin(&[&["detect", &path], more].concat())
}

/// Lines of rows, without the header.
#[track_caller]
fn rows(output: &Output) -> Vec<String> {
    let text = stdout(output);
    let mut lines = text.lines().map(str::to_string);
    assert_eq!(lines.next().as_deref(), Some(HEADER), "{}", stderr(output));
    lines.collect()
}

fn score(row: &str) -> f64 {
    row.split(',').nth(2).and_then(|score| score.parse().ok()).unwrap_or_else(|| panic!("a score: {row}"))
}

#[test]
fn each_row_has_its_row_as_it_was_written_and_a_score() {
    let text = "host,When,\"peers, in\",Value\n\
        hal,2026-11-21 10:00:00,x,1.50\n\
        hal,\"2026-11-21 10:05:00\",x, 2e0\n\
        hal,bad,x,3\n\
        hal,2026-11-21 10:10:00,x,\n\
        hal,2026-11-21 10:15:00,x,NaN\n\
        hal\n\
        hal,2026-11-21 10:20:00,x,+4\n";
    // `When` is no name of a time that is looked for, and the first column is none: each row is told as unreadable.
    let output = detect(&text.replace("When", "time"), &[]);
    assert_eq!(
        rows(&output),
        [
            "2026-11-21 10:00:00,1.50,0,,,",
            "2026-11-21 10:05:00, 2e0,0,,,",
            "bad,3,0,,,",
            "2026-11-21 10:10:00,,0,,,",
            "2026-11-21 10:15:00,NaN,0,,,",
            ",,0,,,",
            "2026-11-21 10:20:00,+4,0,,,",
        ]
    );
    assert_eq!(output.status.code(), Some(3));
    let errors = stderr(&output);
    for expected in [
        "series.csv: line 4: the time is \"bad\", expected a time as 2014-02-14T14:27:00Z",
        "line 5: the value is empty, expected a number",
        "line 6: the value is \"NaN\"",
        "line 7: the time is missing",
        "not judged: 4 rows that cannot be read, 0 out of order",
    ] {
        assert!(errors.contains(expected), "{expected:?} is not in: {errors}");
    }
}

#[test]
fn only_the_first_unreadable_rows_are_told() {
    let text = format!("time,value\n{}", "x,1\n".repeat(30));
    let errors = stderr(&detect(&text, &[]));
    assert_eq!(errors.matches("the time is").count(), 5, "{errors}");
    assert!(errors.contains("30 rows that cannot be read"), "{errors}");
}

#[test]
fn every_form_of_the_times_gives_the_same_scores() {
    let series = season(1_500, 300, &[(1_400, 400.0)]);
    let scores = |form: fn(i64) -> String| {
        let rows_of = series.iter().map(|(at_s, value)| format!("{},{value}\n", form(*at_s)));
        let text: String = std::iter::once("time,value\n".to_string()).chain(rows_of).collect();
        let output = detect(&text, &[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        rows(&output).iter().map(|row| row.split_once(',').expect("fields").1.to_string()).collect::<Vec<_>>()
    };
    let instant = |at_s: i64| jiff::Timestamp::from_second(at_s).expect("in the calendar");
    let expected = scores(|at_s| at_s.to_string());
    assert!(expected.iter().any(|row| !row.ends_with(",0,,,")), "nothing was judged");
    let forms: [fn(i64) -> String; 6] = [
        |at_s| format!("{at_s}.000"),
        |at_s| (at_s * 1_000).to_string(),
        |at_s| (at_s * 1_000_000).to_string(),
        |at_s| jiff::Timestamp::from_second(at_s).expect("in the calendar").to_string(),
        |at_s| {
            let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(2));
            let there = jiff::Timestamp::from_second(at_s).expect("in the calendar").to_zoned(zone);
            there.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
        },
        |at_s| {
            let instant = jiff::Timestamp::from_second(at_s).expect("in the calendar");
            instant.strftime("%Y-%m-%d %H:%M:%S").to_string()
        },
    ];
    for (number, form) in forms.into_iter().enumerate() {
        assert!(scores(form) == expected, "form {number}: {}", form(instant(START_S).as_second()));
    }
}

#[test]
fn the_rows_of_a_prefix_are_the_prefix_of_the_rows() {
    let mut series = season(1_200, 300, &[(700, 300.0), (900, 0.0)]);
    // Irregular, with a gap, and at another step from some row on.
    for (number, (at_s, _)) in series.iter_mut().enumerate() {
        *at_s += (number as i64 * 7) % 11 + if number > 600 { 7_200 } else { 0 };
    }
    let last_s = series.last().expect("rows").0;
    series.extend((1..300).map(|number| (last_s + number * 3_600, 100.0 + (number % 24) as f64)));
    let text = csv(&series).replace("\n1793610000,", "\nx,");
    let whole = stdout(&detect(&text, &[]));
    for cut in [1, 2, 9, 10, 11, 12, 300, 601, 650, 701, 902, 1_199, 1_231, 1_247, 1_300] {
        let lines: Vec<&str> = text.lines().take(cut + 1).collect();
        let part = stdout(&detect(&format!("{}\n", lines.join("\n")), &[]));
        assert_eq!(part.lines().count(), cut + 1);
        assert!(whole.starts_with(&part), "cut after {cut} rows");
    }
}

#[test]
fn each_row_is_answered_before_the_next_is_written() {
    for more in [&["detect"][..], &["detect", "-"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tocsin"))
            .args(more)
            .current_dir(root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut input = child.stdin.take().expect("piped");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut ask = |line: &str| {
            writeln!(input, "{line}").expect("it reads");
            lines.next().expect("an answer").expect("text")
        };
        assert_eq!(ask("timestamp,value"), HEADER);
        for (at_s, value) in season(60, 10, &[]) {
            let answer = ask(&format!("{at_s},{value}"));
            assert!(answer.starts_with(&format!("{at_s},{value},")), "{answer}");
        }
        drop(input);
        assert!(child.wait().expect("it ends").success());
    }
}

#[test]
fn a_spike_and_a_lasting_change_of_a_season_are_reported() {
    let mut series = season(3_000, 300, &[(2_000, 400.0)]);
    series.iter_mut().skip(2_500).for_each(|(_, value)| *value += 80.0);
    let output = detect(&csv(&series), &[]);
    assert_eq!(output.status.code(), Some(0));
    let rows = rows(&output);
    let scores: Vec<f64> = rows.iter().map(|row| score(row)).collect();
    assert!(
        scores.iter().all(|score| (0.0..=UNREPORTED_MAX).contains(score) || (REPORT..=1.0).contains(score))
    );
    // The first days are all new; what comes later is what was put there, each told once or as it gets worse.
    let reported: Vec<usize> = (1_000..rows.len()).filter(|number| scores[*number] >= REPORT).collect();
    assert!(reported.contains(&2_000), "{reported:?}");
    assert!(reported.iter().any(|number| (2_500..2_520).contains(number)), "{reported:?}");
    assert!(
        reported.len() <= 6
            && reported.iter().all(|number| (2_000..2_010).contains(number) || *number >= 2_500),
        "{reported:?}"
    );
    let summary = stderr(&output);
    assert!(
        summary.contains("3,000 rows every 5 min, 2026-11-01T00:00:00Z to 2026-11-11T09:55:00Z"),
        "{summary}"
    );
    assert!(summary.contains("2026-11-07T22:40:00Z  400, expected"), "{summary}");
}

#[test]
fn options_choose_what_is_reported() {
    let series = csv(&season(3_000, 60, &[(2_000, 400.0)]));
    let strongest = |more: &[&str]| {
        let output = detect(&series, more);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        rows(&output)[1_990..2_010].iter().map(|row| score(row)).fold(0.0, f64::max)
    };
    assert!(strongest(&["--detector", "point"]) >= REPORT);
    assert!(strongest(&["--detector", "point", "--direction", "up", "--effect-min", "50"]) >= REPORT);
    assert!(strongest(&["--detector", "point", "--direction", "down"]) < REPORT);
    assert!(strongest(&["--detector", "point", "--effect-min", "1000"]) < REPORT);
    for wrong in [
        ["--detector", "no_such"],
        ["--season", "59m"],
        ["--season", "8d"],
        ["--over", "10m"],
        ["--over", "400d"],
        ["--effect-min", "-1"],
        ["--direction", "left"],
    ] {
        assert_eq!(detect(&series, &wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn another_step_for_good_is_told_and_begins_anew() {
    let mut series = season(60, 86_400, &[]);
    let last_s = series[59].0;
    series.extend((1..100).map(|number| (last_s + number * 3_600, 100.0)));
    let output = detect(&csv(&series), &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(rows(&output).len(), series.len());
    let errors = stderr(&output);
    assert!(errors.contains("rows come every 1 h now; the detector begins anew"), "{errors}");
}

#[test]
fn rows_out_of_order_are_counted_and_not_judged() {
    let mut series = season(500, 300, &[]);
    series.insert(400, (START_S, 1e6));
    series.insert(300, series[299]);
    let output = detect(&csv(&series), &[]);
    assert_eq!(output.status.code(), Some(0));
    let lines = rows(&output);
    assert!(lines[300].ends_with(",0,,,") && lines[401].ends_with(",1000000,0,,,"), "{}", lines[401]);
    assert!(stderr(&output).contains("0 rows that cannot be read, 2 out of order"), "{}", stderr(&output));
    // What was not judged was not learnt from either.
    let without = rows(&detect(&csv(&season(500, 300, &[])), &[]));
    let kept: Vec<&String> =
        lines.iter().enumerate().filter(|(n, _)| ![300, 401].contains(n)).map(|(_, l)| l).collect();
    assert!(kept.into_iter().eq(&without));
}

#[test]
fn two_files_put_together_are_judged_both_and_told() {
    let series = season(500, 300, &[]);
    let output = detect(&csv(&[&series[..], &series[..]].concat()), &[]);
    assert_eq!(output.status.code(), Some(3), "29 of 1000 are more than one in a hundred");
    let errors = stderr(&output);
    assert!(errors.contains("line 531: times went back") && errors.contains("29 out of order"), "{errors}");
    let lines = rows(&output);
    assert!(lines[528].ends_with(",0,,,") && !lines[999].ends_with(",0,,,"), "{}", lines[999]);
}

#[test]
fn rows_in_descending_order_are_damage() {
    let mut series = season(500, 300, &[]);
    series.reverse();
    assert_eq!(detect(&csv(&series), &[]).status.code(), Some(3));
}

#[test]
fn a_stray_quote_costs_one_row() {
    let text = csv(&season(500, 300, &[])).replacen(",1", ",\"1", 1);
    let output = detect(&text, &[]);
    assert_eq!((output.status.code(), rows(&output).len()), (Some(3), 500));
    assert!(stderr(&output).contains("1 row that cannot be read"), "{}", stderr(&output));
}

#[test]
fn a_wrong_file_or_column_is_an_error_that_says_what_is_right() {
    let text = "time,host,peers_in,peers_out\n1,hal,2,3\n";
    assert_eq!(rows(&detect(text, &["--column", "peers_out"])), ["1,3,0,,,"]);
    let error = |output: Output| {
        assert_eq!(output.status.code(), Some(2));
        stderr(&output)
    };
    let wrong = error(detect(text, &["--column", "peer_out"]));
    assert!(
        wrong.contains(
            "expected one of \"time\", \"host\", \"peers_in\", \"peers_out\"; \"peers_out\" is nearest"
        ),
        "{wrong}"
    );
    assert!(error(detect("", &[])).contains("series.csv: there is nothing in it"));
    assert!(error(detect("a,b,c\n1,x,y\n", &[])).contains("no column of the first row is a number"));
    assert!(error(tocsin(&["detect", "no/such.csv"])).contains("no/such.csv: cannot be opened"));
}

#[test]
fn the_plot_shows_the_band_and_a_mark_for_each_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let svg = folder.path().join("plot.svg");
    let plot = |text: &str, name: &str| {
        let path = folder.path().join(name).display().to_string();
        detect_in(folder.path(), text, &["--plot", &path])
    };
    let usual = csv(&season(3_000, 300, &[]));
    assert_eq!(plot(&usual, "plot.svg").status.code(), Some(0));
    let without = fs::read_to_string(&svg).expect("written");
    let output = plot(&csv(&season(3_000, 300, &[(2_000, 400.0)])), "plot.svg");
    let with = fs::read_to_string(&svg).expect("written again");
    for text in ["series.csv, value", "expected"] {
        assert!(with.contains(text), "{text}");
    }
    let summary = stderr(&output);
    let strongest = summary.lines().nth(2).expect("a report");
    assert!(strongest.trim_start().starts_with("page ") && strongest.contains(" 400, expected"), "{summary}");
    let is_in_legend = |svg: &str, word: &str| svg.lines().any(|line| line == word);
    assert!(is_in_legend(&with, "page") && !is_in_legend(&without, "page"), "{summary}");
    plot(&usual, "plot.PNG");
    assert!(fs::read(folder.path().join("plot.PNG")).expect("written").starts_with(b"\x89PNG"));

    for (name, expected) in [("plot.gif", "end in .svg or .png"), ("no/plot.svg", "its folder is not there")]
    {
        let output = plot(&usual, name);
        assert_eq!((output.status.code(), stdout(&output)), (Some(2), String::new()));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    let output = plot("time,value\n1,2\n", "plot.svg");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cannot be drawn"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(&svg).expect("as before"), with, "the plot before stays");
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 3, "no draft is left");
}
