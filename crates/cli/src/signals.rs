//! SIGINT and SIGTERM: the first asks for a graceful stop, the second ends the process.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// A token that is cancelled by the first signal, which also says `words`. The second one ends the process at once.
pub(crate) fn stop_token(words: &'static str) -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        for count in 0_u8.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if count > 0 {
                let words = "stopped at once by a second signal; what is durable stays so";
                crate::termination::tell(words);
                std::process::exit(Exit::Interrupted as i32);
            }
            tracing::info!("{words}; another signal stops at once");
            stop.cancel();
        }
    });
    Ok(token)
}
