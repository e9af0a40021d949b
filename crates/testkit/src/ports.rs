//! Free ports on loopback for servers that must be told theirs.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// The ports tried: above the well-known ones and below 32768, where Linux takes the local ports of outgoing
/// connections from.
///
/// A port that the system hands out (bind to 0) comes from that upper range. While a restarted server is down,
/// such a port can be taken by any outgoing connection; a client that keeps reconnecting to it can even be
/// connected with itself. Ports from below stay free for a server that comes back.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// Returns `count` different ports that nobody listens on now.
///
/// Another process may take one before it is used, so whoever starts a server tries again with other ports.
pub(crate) fn free(count: usize) -> Result<Vec<u16>> {
    let mut held: Vec<(u16, TcpListener)> = Vec::new();
    for _ in 0..1000 {
        if held.len() == count {
            return Ok(held.into_iter().map(|(port, _)| port).collect());
        }
        let port = rand::random_range(RANGE);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
    }
    bail!(
        "no {count} free ports between {} and {}",
        RANGE.start,
        RANGE.end
    )
}

/// Returns `count` ports, each the first of `length` neighbours that nobody listens on now.
pub(crate) fn free_runs(count: usize, length: u16) -> Result<Vec<u16>> {
    let mut held: Vec<TcpListener> = Vec::new();
    let mut found = Vec::new();
    for _ in 0..1000 {
        if found.len() == count {
            return Ok(found);
        }
        let first = rand::random_range(RANGE.start..RANGE.end - length);
        let run: std::io::Result<Vec<TcpListener>> = (first..first + length)
            .map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
            .collect();
        if let Ok(run) = run {
            held.extend(run);
            found.push(first);
        }
    }
    bail!(
        "no {count} times {length} free ports in a row between {} and {}",
        RANGE.start,
        RANGE.end
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn ports_differ() {
        let mut ports = super::free(20).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }

    #[test]
    fn runs_do_not_overlap() {
        let mut first = super::free_runs(10, 3).unwrap();
        first.sort_unstable();
        assert_eq!(first.len(), 10);
        assert!(
            first.windows(2).all(|pair| pair[1] - pair[0] >= 3),
            "{first:?}"
        );
    }
}
