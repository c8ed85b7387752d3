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

/// The heading, if the HTML begins with one, and the rest: the first picture stands between, where a phone shows it at
/// once.
fn heading(html: &str) -> (&str, &str) {
    const END: &str = "</h4>";
    match html.find(END) {
        Some(end) if html.trim_start().starts_with("<h4") => html.split_at(end + END.len()),
        _ => ("", html),
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
