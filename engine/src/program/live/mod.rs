//! The live commands: `run`, `record` and `extract`.
//!
//! Extractors and NATS servers put events on one bus. The engine's thread (`core`) takes them from there, records them
//! and steps the engine; everything else reads what it publishes (`status`).

mod checkpoint;
pub mod config;
mod core;
mod dispatch;
mod http;
mod intake;
mod logging;
mod nats;
mod recording;
mod rules;
mod status;
mod timeline;

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tocsin_extractors::ebpf::become_user;
use tocsin_extractors::{Backoff, Bus, CancellationToken, NodeExtractors, bus, start};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Ended;
use super::arguments::{ExtractArguments, Format, LiveArguments, RunArguments};
use checkpoint::Checkpoint;
use config::Config;
use core::{Core, GRACE, Inputs};
use nats::Connection;
use rules::{Loaded, Loader};
use status::StatusBoard;

/// `tocsin run`: watches nodes and tells what alerts do.
pub fn run(arguments: &RunArguments) -> anyhow::Result<Ended> {
    let config = Config::load(&arguments.config)?;
    logging::start(&config.log)?;
    let mut loader = Loader::new(config.rules.clone(), config.series.clone());
    let loaded = loader.load_first()?;
    for error in &loaded.errors {
        tracing::error!("{error}");
    }
    tracing::info!("{} rules", loaded.library.rules().len());
    block_on(watch(config, Some((loader, loaded)), arguments.format))
}

/// `tocsin record`: records what arrives, without rules.
pub fn record(arguments: &LiveArguments) -> anyhow::Result<Ended> {
    let mut config = Config::load(&arguments.config)?;
    logging::start(&config.log)?;
    config.recording.enabled = true;
    block_on(watch(config, None, Format::Text))
}

/// `tocsin extract`: one extractor of this machine's nodes, for an engine elsewhere.
pub fn extract(arguments: &ExtractArguments) -> anyhow::Result<Ended> {
    let config = Config::load(&arguments.config)?;
    logging::start(&config.log)?;
    let Some(server) = config.publish.clone() else {
        bail!("{}: [publish] is missing, expected the url of a NATS server", arguments.config.display());
    };
    let name = arguments.name.name();
    let nodes: Vec<(String, NodeExtractors)> = config
        .nodes
        .iter()
        .map(|node| (node.name.clone(), arguments.name.only(node.extractors())))
        .filter(|(_, extractors)| !extractors.is_empty())
        .collect();
    if nodes.is_empty() {
        bail!("{}: no [[node]] has a table [node.{name}]", arguments.config.display());
    }
    // Before any thread is started: those that run already would keep what they may do.
    if let Some(user) = nodes.iter().find_map(|(_, extractors)| extractors.ebpf.as_ref()?.user.clone()) {
        let left =
            become_user(&user).map_err(|error| anyhow::anyhow!("node.ebpf.user = {user:?}: {error}"))?;
        tracing::info!("this process is {left}");
    }
    block_on(async move {
        let shutdown = shutdown_on_request()?;
        let (bus, events) = bus();
        for (node, extractors) in nodes {
            start(&node, extractors, &bus, &shutdown);
        }
        drop(bus);
        let too_long = async {
            shutdown.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            published = nats::publish(server, events) => published?,
            () = too_long => tracing::warn!("the last events could not be sent: there is no NATS server"),
        }
        Ok(Ended::Well)
    })
}

/// Runs a command to its end; what hangs after that, such as a read of a dead disk, is left behind.
fn block_on(command: impl Future<Output = anyhow::Result<Ended>>) -> anyhow::Result<Ended> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let ended = runtime.block_on(command);
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended
}

async fn watch(config: Config, rules: Option<(Loader, Loaded)>, format: Format) -> anyhow::Result<Ended> {
    if config.nodes.is_empty() && config.nats.is_empty() {
        bail!("there is nothing to watch, expected [[node]] or [[nats]] in the configuration");
    }
    let _lock = lock(&config.data)?;
    let listener = TcpListener::bind(config.http.listen)
        .await
        .with_context(|| format!("http.listen = \"{}\": cannot listen there", config.http.listen))?;
    let shutdown = shutdown_on_request()?;
    let board = StatusBoard::default();
    let started = match &rules {
        Some(_) => dispatch(&config, &shutdown)?,
        None => None,
    };
    let asked = started.as_ref().map(|started| started.dispatch.clone());
    let (teller, telling) = started.map(|started| (started.teller, started.thread)).unzip();
    let interface = http::Interface::new(&config, board.clone(), asked);
    let http = tokio::spawn(http::serve(listener, interface, shutdown.clone()));

    let (bus, events) = bus();
    let connections: Vec<Connection> =
        config.nats.iter().map(|nats| Connection::new(&nats.name, nats.node.clone())).collect();
    let (loader, loaded) = rules.unzip();
    let (reload, reloads) = mpsc::channel(1);
    let inputs = Inputs { events, reloads, shutdown: shutdown.clone() };
    let core = std::thread::Builder::new().name("engine".to_string());
    let core = core.spawn({
        let (config, board, connections) = (config.clone(), board, connections.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        move || {
            let core = Core::restore(&config, loaded, format, board, connections, teller)?;
            anyhow::Ok(runtime.block_on(core.run(inputs)))
        }
    })?;
    let mut tasks = sources(&config, &connections, bus, &shutdown);
    if let Some(loader) = loader {
        tasks.push(tokio::spawn(watch_rules(
            loader,
            config.rules.reload_every.get(),
            reload,
            shutdown.clone(),
        )));
    }
    let ended = tokio::task::spawn_blocking(move || core.join()).await?;
    // Also where the engine failed: dispatch then takes all that waits for a disk, and ends.
    shutdown.cancel();
    let told =
        tokio::task::spawn_blocking(move || telling.map_or(Ok(()), std::thread::JoinHandle::join)).await?;
    for task in tasks {
        task.abort();
    }
    let _ = http.await;
    if told.is_err() {
        bail!("dispatch failed; what it had stored is kept and a restart goes on from there");
    }
    match ended {
        Ok(Ok(true)) => Ok(Ended::Well),
        Ok(Ok(false)) => bail!("all sources of events have ended, though nobody asked for it"),
        Ok(Err(error)) => Err(error),
        Err(_) => bail!("the engine failed; what it had recorded is kept and a restart goes on from there"),
    }
}

/// Starts dispatch, if anybody is to be told of alerts.
fn dispatch(config: &Config, shutdown: &CancellationToken) -> anyhow::Result<Option<dispatch::Started>> {
    let Some(plan) = config.plan()? else {
        tracing::info!("there is no [[receiver]]: alerts are shown over HTTP, and nobody is told of them");
        return Ok(None);
    };
    // What the run before left to be sent may name nodes that only it has seen. A damaged checkpoint is the engine's trouble.
    if plan.hidden.hides_nodes()
        && let Ok(Some(checkpoint)) = Checkpoint::read(&config.data.join("checkpoint"))
    {
        plan.hidden.nodes.learn(checkpoint.memory.nodes.keys());
    }
    let listen = config.http.listen;
    // An address that stands for all of them is nowhere.
    let own = if listen.ip().is_unspecified() { String::new() } else { format!("http://{listen}") };
    let url = config.http.external_url.clone().unwrap_or(own);
    dispatch::start(&config.data, plan, &url, shutdown).map(Some)
}

/// Starts extractors and NATS connections.
fn sources(
    config: &Config,
    connections: &[Connection],
    bus: Bus,
    shutdown: &CancellationToken,
) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    for node in &config.nodes {
        tasks.extend(start(&node.name, node.extractors(), &bus, shutdown));
    }
    for (nats, connection) in config.nats.iter().zip(connections) {
        let (nats, connection, bus, shutdown) =
            (nats.clone(), connection.clone(), bus.clone(), shutdown.clone());
        tasks.push(tokio::spawn(async move {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
            while let Err(error) =
                nats::receive(nats.clone(), connection.clone(), bus.clone(), shutdown.clone()).await
            {
                let wait = backoff.wait();
                tracing::error!(nats = nats.name, "{error:#}; tried again in {} s", wait.as_secs());
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = shutdown.cancelled() => return,
                }
            }
        }));
    }
    tasks
}

/// Looks for changed rule files, and loads them on SIGHUP.
async fn watch_rules(
    mut loader: Loader,
    every: Duration,
    reload: mpsc::Sender<anyhow::Result<Loaded>>,
    shutdown: CancellationToken,
) {
    let Ok(mut asked) = signal(SignalKind::hangup()) else { return };
    loop {
        let is_asked = tokio::select! {
            _ = asked.recv() => true,
            () = tokio::time::sleep(every) => false,
            () = shutdown.cancelled() => return,
        };
        if !is_asked && !loader.has_changed() {
            continue;
        }
        let loaded = tokio::task::spawn_blocking(move || {
            let loaded = loader.load();
            (loader, loaded)
        });
        let Ok((back, loaded)) = loaded.await else { return };
        loader = back;
        if reload.send(loaded).await.is_err() {
            return;
        }
    }
}

/// A token that SIGTERM and SIGINT cancel.
fn shutdown_on_request() -> anyhow::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // Only `run` has something to load anew, and no command is to end by it.
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move { while hangup.recv().await.is_some() {} });
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        token.cancel();
        tracing::info!("ending");
    });
    Ok(shutdown)
}

/// Makes sure that no other process works in the data folder.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let context = || format!("data = {:?}: cannot be written", folder);
    std::fs::create_dir_all(folder).with_context(context)?;
    let file = File::options().create(true).append(true).open(folder.join("lock")).with_context(context)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => bail!("data = {folder:?}: another tocsin works there, expected a folder of its own"),
    }
}
