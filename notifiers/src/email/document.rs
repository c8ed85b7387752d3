//! The HTML document around the template's HTML.
//!
//! Styles are inline, since mail clients drop others, and name no ground and no colour of text: light and dark clients
//! bring theirs.

use tocsin_proto::pb::notification::Notification;

use crate::template::{Headline, escape};

/// A picture in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Its Content-ID, without brackets.
    pub cid: String,
    /// What stands for it where pictures are not shown.
    pub text: String,
}

/// The document. `title` and the pictures' texts may be hostile, `html` is escaped already.
pub fn document(notification: &Notification, title: &str, html: &str, pictures: &[Picture]) -> String {
    let color = Headline::of(notification).color();
    let (heading, rest) = heading(html);
    let mut pictures = pictures.iter().map(image);
    let (first, others) = (pictures.next().unwrap_or_default(), pictures.collect::<String>());
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><meta name=\"supported-color-schemes\" content=\"light dark\">\
         <title>{}</title></head>\n\
         <body style=\"margin:0;padding:12px;font-family:-apple-system,'Segoe UI',Roboto,Ubuntu,sans-serif;\
         font-size:16px;line-height:1.45\">\n\
         <div style=\"max-width:800px;border-left:4px solid {color};padding:0 0 0 14px;overflow-wrap:anywhere\">\n\
         {heading}\n{first}{rest}\n{others}</div>\n</body></html>\n",
        escape(title)
    )
}

/// The heading, or all of it if it begins with none, and the rest: the first picture stands between, where a phone shows
/// it at once.
fn heading(html: &str) -> (&str, &str) {
    const END: &str = "</h4>";
    match html.find(END) {
        Some(end) if html.trim_start().starts_with("<h4") => html.split_at(end + END.len()),
        _ => (html, ""),
    }
}

fn image(picture: &Picture) -> String {
    format!(
        "<p><img src=\"cid:{}\" width=\"800\" alt=\"{}\" style=\"width:100%;max-width:800px;height:auto;border:0;\
         border-radius:6px\"></p>\n",
        escape(&picture.cid),
        escape(&picture.text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(number: u32) -> Picture {
        Picture { cid: format!("plot{number}@example.org"), text: "a \"plot\" of <b>".to_string() }
    }

    #[track_caller]
    fn check(html: &str, pictures: &[Picture], in_order: &[&str]) {
        let made = document(&Notification::default(), "a < b", html, pictures);
        let mut rest = made.as_str();
        for expected in in_order {
            let found = rest.find(expected);
            rest = &rest[found.unwrap_or_else(|| panic!("{expected:?} is not in, or not there in {made}"))..];
        }
        assert!(made.contains("<title>a &lt; b</title>"));
        assert!(!made.contains("of <b>"));
    }

    #[test]
    fn the_first_picture_stands_below_the_heading_and_others_at_the_end() {
        let pictures = [picture(1), picture(2)];
        check(
            "<h4>flood</h4>\n<p>text</p>",
            &pictures,
            &["<h4>flood</h4>", "cid:plot1@", "<p>text</p>", "cid:plot2@"],
        );
    }

    #[test]
    fn without_a_heading_pictures_come_last() {
        check("<p>text</p><h4>late</h4>", &[picture(1)], &["<p>text</p>", "<h4>late</h4>", "cid:plot1@"]);
    }

    #[test]
    fn without_pictures_there_is_the_text() {
        check("<h4>flood</h4><p>text</p>", &[], &["<h4>flood</h4>", "<p>text</p>"]);
    }
}
