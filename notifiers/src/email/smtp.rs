//! One conversation with the server: a connection, a login, a letter.
//!
//! lettre's transport gives up a letter when one of its recipients is refused, so the commands are given here.

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use std::time::Duration;

use super::Tls;
use super::failure::{self, Stage};
use super::settings::Settings;
use crate::{Failure, NotifyError};

/// How long a server may take to say goodbye; the letter is delivered by then.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// What became of the recipients.
#[derive(Debug, Default)]
pub struct Outcome {
    /// They have it.
    pub accepted: Vec<Address>,
    /// The server will not have them, and says why.
    pub refused: Vec<(Address, String)>,
    /// The failure of one that is to be tried again.
    pub later: Option<NotifyError>,
}

/// Sends a letter to these recipients.
pub async fn send(settings: &Settings, letter: &[u8], to: &[Address]) -> Result<Outcome, NotifyError> {
    let mut connection = connect(settings).await?;
    let place = settings.place();
    let fail = |error: Error| failure::of(&place, Stage::Mail, &error);
    connection.command(Mail::new(Some(settings.from.email.clone()), Vec::new())).await.map_err(fail)?;
    let mut outcome = Outcome::default();
    for address in to {
        match connection.command(Rcpt::new(address.clone(), Vec::new())).await {
            Ok(_) => outcome.accepted.push(address.clone()),
            Err(error) if error.is_permanent() => {
                outcome.refused.push((address.clone(), failure::of(&place, Stage::Mail, &error).text));
            }
            // 421 ends the conversation.
            Err(error) if error.status().is_some_and(|code| code.to_string() != "421") => {
                outcome.later.get_or_insert(fail(error));
            }
            Err(error) => return Err(fail(error)),
        }
    }
    if !outcome.accepted.is_empty() {
        connection.command(Data).await.map_err(fail)?;
        connection.message(letter).await.map_err(fail)?;
    }
    let _ = tokio::time::timeout(GOODBYE_MAX, connection.quit()).await;
    Ok(outcome)
}

async fn connect(settings: &Settings) -> Result<AsyncSmtpConnection, NotifyError> {
    let place = settings.place();
    let tls = tls(settings)?;
    let at_once = tls.clone().filter(|_| settings.tls == Tls::Tls);
    let server = (settings.host.as_str(), settings.port);
    let connected =
        AsyncSmtpConnection::connect_tokio1(server, Some(settings.timeout), &settings.hello, at_once, None)
            .await;
    let mut connection = connected.map_err(|error| failure::of(&place, Stage::Connect, &error))?;
    if let Some(tls) = tls.filter(|_| settings.tls == Tls::Starttls) {
        let started = connection.starttls(tls, &settings.hello).await;
        started.map_err(|error| failure::of(&place, Stage::Starttls, &error))?;
    }
    if let Some((user, password)) = &settings.login {
        let password = password
            .read()
            .map_err(|error| failure::local(Failure::AuthError, format!("password: {error}")))?;
        let credentials = Credentials::new(user.clone(), password.expose().to_string());
        let entered = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
        entered.map_err(|error| failure::of(&place, Stage::Login, &error))?;
    }
    Ok(connection)
}

fn tls(settings: &Settings) -> Result<Option<TlsParameters>, NotifyError> {
    if matches!(settings.tls, Tls::None | Tls::NoneOverNetwork) {
        return Ok(None);
    }
    let wrong = |error: String| failure::local(Failure::Other, error);
    let mut parameters = TlsParameters::builder(settings.host.clone());
    if let Some(path) = &settings.ca_file {
        let place = path.display();
        let pem = std::fs::read(path).map_err(|error| wrong(format!("ca_file {place}: {error}")))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|_| wrong(format!("ca_file {place}: holds no certificate, expected PEM")))?;
        parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    let built = parameters.build_rustls();
    built.map(Some).map_err(|error| wrong(format!("{}: TLS: {error}", settings.place())))
}
