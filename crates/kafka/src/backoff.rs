//! How long to wait before trying again.

use std::time::Duration;

use rand::RngExt as _;

/// The part of a delay by which it is made shorter or longer at random, so that clients that failed together do not
/// come back together (the Java client's value).
const JITTER: f64 = 0.2;

/// Delays that double with every failure up to a limit, each made up to a fifth shorter or longer at random.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Begins at `first` and never passes `longest` by more than the jitter.
    pub fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff {
            first,
            longest: longest.max(first),
            failures: 0,
        }
    }

    /// The delay after one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let delay = doubled.min(self.longest);
        delay.mul_f64(rand::rng().random_range(1.0 - JITTER..=1.0 + JITTER))
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

impl Default for Backoff {
    /// From 100 ms to 1 s: librdkafka's `retry.backoff.ms` and `retry.backoff.max.ms`.
    fn default() -> Backoff {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_with_jitter() {
        for _ in 0..50 {
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(1000));
            for expected in [100.0, 200.0, 400.0, 800.0, 1000.0, 1000.0] {
                let delay = backoff.next_delay().as_secs_f64() * 1000.0;
                assert!(
                    (expected * 0.799..=expected * 1.201).contains(&delay),
                    "{delay} is no delay around {expected}"
                );
            }
            backoff.reset();
            assert!(backoff.next_delay() <= Duration::from_millis(121));
        }
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for _ in 0..200 {
            assert!(backoff.next_delay() <= Duration::from_millis(1201));
        }
    }

    #[test]
    fn no_delay_stays_no_delay() {
        assert_eq!(
            Backoff::new(Duration::ZERO, Duration::ZERO).next_delay(),
            Duration::ZERO
        );
    }
}
