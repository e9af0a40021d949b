//! The broker properties of a test cluster.

use std::fmt::Write as _;
use std::path::Path;

use crate::kubernetes::forward_in;

/// Where one node listens. All ports are on loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) clients: u16,
    pub(super) controller: u16,
    /// For clients in a Kubernetes cluster, who are told an address that leads here from there.
    pub(super) pods: u16,
}

impl Ports {
    /// How many ports a node takes.
    pub(super) const COUNT: u16 = 3;

    /// Neighbours, so that from the port for clients alone the one for pods is known.
    pub(super) fn from(clients: u16) -> Ports {
        Ports {
            clients,
            controller: clients + 1,
            pods: clients + 2,
        }
    }

    /// What the node listens on.
    pub(super) fn listeners(self) -> String {
        let Ports {
            clients,
            controller,
            pods,
        } = self;
        format!(
            "PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller},PODS://127.0.0.1:{pods}"
        )
    }

    /// What it tells clients to connect to.
    pub(super) fn advertised(self) -> String {
        let Ports { clients, pods, .. } = self;
        format!(
            "PLAINTEXT://127.0.0.1:{clients},PODS://{}",
            forward_in(pods)
        )
    }
}

/// The protocols of [`Ports::listeners`].
pub(super) const PROTOCOLS: &str = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PODS:PLAINTEXT";

/// The `server.properties` of node `index` of a cluster whose nodes listen on `ports`; `extra` wins over what is
/// set here.
///
/// Everything that Kafka does "after a while" (compaction, retention, deletion, ending abandoned transactions)
/// happens within seconds, so that tests can wait for it.
pub(super) fn server_properties(
    index: usize,
    ports: &[Ports],
    folder: &Path,
    extra: &[(String, String)],
) -> String {
    let nodes = ports.len();
    let voters: Vec<String> = ports
        .iter()
        .enumerate()
        .map(|(node, ports)| format!("{}@127.0.0.1:{}", node + 1, ports.controller))
        .collect();
    let replicas = nodes.min(3).to_string();
    let in_sync = if nodes < 3 { "1" } else { "2" };
    let own: [(&str, String); 37] = [
        ("process.roles", "broker,controller".into()),
        ("node.id", (index + 1).to_string()),
        ("controller.quorum.voters", voters.join(",")),
        ("controller.listener.names", "CONTROLLER".into()),
        ("listeners", ports[index].listeners()),
        ("advertised.listeners", ports[index].advertised()),
        ("listener.security.protocol.map", PROTOCOLS.into()),
        ("inter.broker.listener.name", "PLAINTEXT".into()),
        ("log.dirs", folder.join("data").display().to_string()),
        ("num.network.threads", "2".into()),
        ("num.io.threads", "4".into()),
        ("auto.create.topics.enable", "false".into()),
        ("delete.topic.enable", "true".into()),
        ("num.partitions", "1".into()),
        ("default.replication.factor", replicas.clone()),
        ("min.insync.replicas", in_sync.into()),
        ("offsets.topic.replication.factor", replicas.clone()),
        ("offsets.topic.num.partitions", "4".into()),
        ("transaction.state.log.replication.factor", replicas.clone()),
        ("transaction.state.log.min.isr", in_sync.into()),
        ("transaction.state.log.num.partitions", "4".into()),
        (
            "transaction.abort.timed.out.transaction.cleanup.interval.ms",
            "1000".into(),
        ),
        ("share.coordinator.state.topic.replication.factor", replicas),
        ("share.coordinator.state.topic.min.isr", "1".into()),
        ("group.initial.rebalance.delay.ms", "0".into()),
        ("broker.session.timeout.ms", "6000".into()),
        ("broker.heartbeat.interval.ms", "1000".into()),
        ("log.retention.hours", "-1".into()),
        ("log.retention.check.interval.ms", "1000".into()),
        ("log.initial.task.delay.ms", "500".into()),
        ("log.segment.delete.delay.ms", "1000".into()),
        ("log.cleaner.backoff.ms", "500".into()),
        ("log.cleaner.dedupe.buffer.size", "8388608".into()),
        ("log.cleaner.io.buffer.size", "262144".into()),
        ("replica.fetch.wait.max.ms", "100".into()),
        ("controlled.shutdown.enable", "true".into()),
        ("unclean.leader.election.interval.ms", "1000".into()),
    ];
    let mut text = String::new();
    let overridden = |key: &str| extra.iter().any(|(name, _)| name == key);
    for (key, value) in own.iter().filter(|(key, _)| !overridden(key)) {
        let _ = writeln!(text, "{key}={value}");
    }
    for (key, value) in extra {
        let _ = writeln!(text, "{key}={value}");
    }
    text
}

/// Kafka 4 logs through log4j2; the process's output goes to a file per run.
pub(super) const LOG4J: &str = "\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %m (%c)%n
rootLogger.level = ${sys:armory.log.level:-INFO}
rootLogger.appenderRef.out.ref = out
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_properties_replace_ours() {
        let ports = [Ports::from(11), Ports::from(21)];
        let extra = [("num.io.threads".to_owned(), "1".to_owned())];
        let text = server_properties(1, &ports, Path::new("/data"), &extra);
        assert!(
            text.contains("\nnum.io.threads=1\n") && !text.contains("num.io.threads=4"),
            "{text}"
        );
        assert!(
            text.contains("controller.quorum.voters=1@127.0.0.1:12,2@127.0.0.1:22\n"),
            "{text}"
        );
        assert!(
            text.contains("listeners=PLAINTEXT://127.0.0.1:21,"),
            "{text}"
        );
        assert!(text.contains(",PODS://172.30.0.2:23\n"), "{text}");
    }
}
