//! A letter: headers, text, HTML and pictures.
//!
//! Mail clients take letters for one thread if the later ones refer to the first, and some (Gmail) only if the subject is
//! the same, too, but for `Re:`. So the subject says what is wrong and where, the state is the first word of the text, and
//! the first letter's Message-ID and subject are what the delivery leaves for later ones.

use std::time::{Duration, SystemTime};

use lettre::Message;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, MultiPart, SinglePart};
use tocsin_proto::pb::notification::{Alert, Notification, Reason};

use super::document::{Picture, document};
use super::failure;
use super::settings::Settings;
use crate::config::Context;
use crate::plot;
use crate::text::line;
use crate::{Delivery, NotifyError, Receipt};

/// Most pictures in a letter; each has about 50 kB.
const PICTURES_MAX: usize = 3;
/// Most characters of a subject.
const SUBJECT_MAX: usize = 200;
/// Most characters of a Message-ID.
const ID_MAX: usize = 200;
/// The last second of the year 9999; a `Date` has four digits for it.
const LATEST_S: u64 = 253_402_300_799;

/// What is sent, and what it leaves for later letters of its thread.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The whole letter, as RFC 5322 has it.
    pub bytes: Vec<u8>,
    /// Its HTML.
    pub html: String,
    /// The receipt's reference: Message-ID and subject of the thread's first letter.
    pub reference: String,
}

impl Letter {
    /// The letter of a delivery; the same at each attempt but for the boundaries of its parts.
    pub(super) fn new(
        settings: &Settings,
        context: &Context,
        delivery: &Delivery,
    ) -> Result<Self, NotifyError> {
        let notification = &delivery.notification;
        let message = context.templates.render(notification, &context.zone);
        let id = message_id(notification, settings);
        let first = delivery.first.as_ref().and_then(first_letter);
        let subject = match &first {
            Some((_, subject)) => format!("Re: {subject}"),
            None => subject(notification, &message.title),
        };
        let mut builder = Message::builder()
            .from(settings.from.clone())
            .subject(subject.as_str())
            .date(decided_at(notification))
            .message_id(Some(id.clone()))
            // Vacation notices and other robots do not answer such letters (RFC 3834).
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_string(),
            ));
        for mailbox in &settings.to {
            builder = builder.to(mailbox.clone());
        }
        if let Some((root, _)) = &first {
            builder = builder.in_reply_to(root.clone()).references(root.clone());
        }
        let (pictures, images) = pictures(notification, context, &id);
        let html = document(notification, &message.title, &message.html, &pictures);
        let related = images
            .into_iter()
            .fold(MultiPart::related().singlepart(SinglePart::html(html.clone())), |related, image| {
                related.singlepart(image)
            });
        let body = MultiPart::alternative().singlepart(SinglePart::plain(message.text)).multipart(related);
        let built =
            builder.multipart(body).map_err(|error| failure::other(format!("the letter: {error}")))?;
        let reference =
            first.map_or_else(|| format!("{id} {subject}"), |(root, subject)| format!("{root} {subject}"));
        Ok(Letter { bytes: built.formatted(), html, reference })
    }
}

/// `<id@domain>`; ids are hex digits, and nothing else gets into a header.
fn message_id(notification: &Notification, settings: &Settings) -> String {
    let id = notification.id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64);
    format!("<{}@{}>", id.collect::<String>(), settings.from.email.domain())
}

/// Message-ID and subject of a thread's first letter; none if the receipt is not ours.
fn first_letter(receipt: &Receipt) -> Option<(String, String)> {
    let (id, subject) = receipt.reference.split_once("> ")?;
    let is_id = id.starts_with('<')
        && id.len() < ID_MAX
        && id.bytes().skip(1).all(|b| b.is_ascii_graphic() && b != b'<');
    is_id.then(|| (format!("{id}>"), line(subject, SUBJECT_MAX)))
}

/// The title without its state, `[FIRING 2]`, which will change while the subject must not. What has no thread keeps it.
fn subject(notification: &Notification, title: &str) -> String {
    let has_thread = !matches!(notification.reason(), Reason::Test | Reason::Emergency | Reason::Digest);
    let rest = title.strip_prefix('[').and_then(|title| title.split_once(']')).map(|(_, rest)| rest.trim());
    match rest {
        Some(rest) if has_thread && !rest.is_empty() => line(rest, SUBJECT_MAX),
        _ => line(title, SUBJECT_MAX),
    }
}

fn decided_at(notification: &Notification) -> SystemTime {
    let since_epoch = Duration::from_millis(u64::try_from(notification.decided_at).unwrap_or(0));
    SystemTime::UNIX_EPOCH + since_epoch.min(Duration::from_secs(LATEST_S))
}

/// Plots of the first alerts that have any, as the document and as the letter have them.
fn pictures(notification: &Notification, context: &Context, id: &str) -> (Vec<Picture>, Vec<SinglePart>) {
    let kind = ContentType::parse("image/png").expect("a content type");
    let drawn =
        notification.alerts.iter().filter_map(|alert| Some((alert, plot::evidence(alert, &context.zone)?)));
    let parts = drawn.take(PICTURES_MAX).enumerate().map(|(number, (alert, plot))| {
        let cid = format!("plot{}.{}", number + 1, id.trim_matches(['<', '>']));
        let picture = Picture { cid: cid.clone(), text: description(alert) };
        let name = format!("plot{}.png", number + 1);
        (picture, Attachment::new_inline_with_name(cid, name).body(plot.png, kind.clone()))
    });
    parts.unzip()
}

fn description(alert: &Alert) -> String {
    let quantity = alert.evidence.as_ref().map(|evidence| evidence.quantity.as_str()).unwrap_or_default();
    line(&format!("plot of {quantity}"), SUBJECT_MAX)
}
