//! Reading no faster than is asked.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// A limit of bytes a second, shared by all that read.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: Option<u64>,
    /// When what was read so far may have been read.
    due: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        Self {
            bytes_per_second: bytes_per_second.map(|rate| rate.max(1)),
            due: Mutex::new(None),
        }
    }

    /// Waits until so many bytes more may have been read. What was not used of the past is not made up for.
    pub(super) async fn passed(&self, bytes: usize) {
        let Some(rate) = self.bytes_per_second else {
            return;
        };
        let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let until = {
            let mut due = self.due.lock().await;
            let now = Instant::now();
            let until = due.map_or(now, |due| due.max(now)) + takes;
            *due = Some(until);
            until
        };
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_who_read_share_the_rate() {
        let pace = Pace::new(Some(1000));
        let began = Instant::now();
        futures::join!(pace.passed(1000), pace.passed(500));
        pace.passed(500).await;
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        Pace::new(None).passed(usize::MAX).await;
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    }
}
