//! Threads for what cannot move between threads: Cap'n Proto's futures share their state without locks.

use std::future::Future;
use std::io;
use std::thread;

use tokio::sync::oneshot;
use tokio::task::LocalSet;

/// Runs a future, and the tasks it spawns locally, on a thread of its own.
///
/// What is returned resolves when it has ended: `Err` if it panicked. The tasks it spawned end with it.
///
/// # Errors
///
/// The system has no thread or no event queue to give.
pub(super) fn spawn<F>(
    name: &str,
    begin: impl FnOnce() -> F + Send + 'static,
) -> io::Result<oneshot::Receiver<()>>
where
    F: Future<Output = ()> + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    // Dropped without a word if the thread panics.
    let (ended, end) = oneshot::channel();
    thread::Builder::new().name(name.to_string()).spawn(move || {
        LocalSet::new().block_on(&runtime, begin());
        let _ = ended.send(());
    })?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[tokio::test]
    async fn the_end_is_told_and_so_is_a_panic() {
        let quiet = spawn("quiet", || async {
            let shared = Rc::new(1);
            tokio::task::spawn_local(async move { drop(shared) }).await.expect("it ran");
        });
        assert!(quiet.expect("a thread").await.is_ok());
        let loud = spawn("loud", || async { panic!("on purpose") });
        assert!(loud.expect("a thread").await.is_err());
    }
}
