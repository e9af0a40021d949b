//! librdkafka's properties (its `CONFIGURATION.md`, version 2.12) and what each means here.

use crate::connect::AddressFamily;

use super::security::{Protocol, SecurityDraft, extensions, mechanism};
use super::values::{boolean, bytes, compression, milliseconds, number};
use super::{Draft, addresses};
use crate::security::SecretValue;

type Set = fn(&mut Draft, &str) -> Result<(), String>;
type SetSecret = fn(&mut SecurityDraft, SecretValue);

/// One of librdkafka's properties.
#[derive(Debug)]
pub(super) struct Property {
    pub(super) name: &'static str,
    /// The name of the same setting that librdkafka prefers.
    pub(super) alias_of: Option<&'static str>,
    pub(super) meaning: Meaning,
}

/// What a property means here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    /// It is obeyed.
    Used(Set),
    /// It is obeyed, and nobody may see its value, which may be read from a file when a connection is made.
    Secret(SetSecret),
    /// It steers something that armory does not have, so that leaving it out changes nothing that could be noticed.
    Harmless,
    /// Armory always behaves as these values say.
    Only {
        values: &'static [&'static str],
        otherwise: &'static str,
    },
    /// It asks for something that armory cannot do.
    Unsupported(&'static str),
}

const fn used(name: &'static str, set: Set) -> Property {
    Property {
        name,
        alias_of: None,
        meaning: Meaning::Used(set),
    }
}

const fn secret(name: &'static str, set: SetSecret) -> Property {
    Property {
        name,
        alias_of: None,
        meaning: Meaning::Secret(set),
    }
}

const fn harmless(name: &'static str) -> Property {
    Property {
        name,
        alias_of: None,
        meaning: Meaning::Harmless,
    }
}

const fn only(
    name: &'static str,
    values: &'static [&'static str],
    otherwise: &'static str,
) -> Property {
    Property {
        name,
        alias_of: None,
        meaning: Meaning::Only { values, otherwise },
    }
}

const fn unsupported(name: &'static str, reason: &'static str) -> Property {
    Property {
        name,
        alias_of: None,
        meaning: Meaning::Unsupported(reason),
    }
}

const fn alias(name: &'static str, alias_of: &'static str, meaning: Meaning) -> Property {
    Property {
        name,
        alias_of: Some(alias_of),
        meaning,
    }
}

const SAFE_TLS: &str = "armory speaks TLS 1.2 and 1.3 with what is safe in them; remove it";
const OPENSSL: &str = "armory is not built on OpenSSL; remove it";
const STORES: &str = "the system's authorities are used where nothing else is given; remove it";
const KEY_STORE: &str = "key stores (PKCS#12, JKS) are not read; convert it with \
     openssl pkcs12 -in keystore.p12 -nodes -out client.pem, and set ssl.certificate.location and ssl.key.location to client.pem";
const TRUST_STORE: &str = "trust stores (PKCS#12, JKS) are not read; convert it with \
     openssl pkcs12 -in truststore.p12 -nokeys -out ca.pem, and set ssl.ca.location to ca.pem";
const KERBEROS: &str = "Kerberos is not spoken here; use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or a client certificate";
const ASSERTION: &str =
    "tokens are got by client credentials; use sasl.oauthbearer.client.id and client.secret";
const CODE: &str = "it can only be set by a program's code";
const TRANSACTIONS: &str = "a restore is exact without transactions; remove it";
const PARTITIONER: &str =
    "a restore keeps partitions; the mapping of a restore says where records go";

const ACKS: Meaning = Meaning::Only {
    values: &["all", "-1"],
    otherwise: "a restore always waits for all in-sync replicas",
};
const BOOTSTRAP: Meaning = Meaning::Used(|draft, text| {
    draft.config.bootstrap = addresses(text, &mut draft.security.bootstrap_protocols)?;
    Ok(())
});
const MECHANISM: Meaning = Meaning::Used(|draft, text| {
    draft.security.mechanism = Some(mechanism(text)?);
    Ok(())
});
const CLIENT_ID: Meaning = Meaning::Secret(|draft, value| draft.client_id = Some(value));
const CLIENT_SECRET: Meaning = Meaning::Secret(|draft, value| draft.client_secret = Some(value));
const MAX_IN_FLIGHT: Meaning = Meaning::Used(|draft, text| {
    draft.config.produce.max_in_flight = bytes(text, 1..=5)?;
    Ok(())
});
const PARTITION_BYTES: Meaning = Meaning::Used(|draft, text| {
    draft.config.fetch.partition_max_bytes = number(text, 1..=1_000_000_000)? as i32;
    Ok(())
});
const COMPRESSION: Meaning = Meaning::Used(|draft, text| {
    draft.config.compression = compression(text)?;
    Ok(())
});

pub(super) static PROPERTIES: &[Property] = &[
    // Reaching brokers.
    Property {
        name: "bootstrap.servers",
        alias_of: None,
        meaning: BOOTSTRAP,
    },
    alias("metadata.broker.list", "bootstrap.servers", BOOTSTRAP),
    used("client.id", |draft, text| {
        draft.config.client_id = text.to_owned();
        Ok(())
    }),
    used("socket.timeout.ms", |draft, text| {
        draft.config.request_timeout = milliseconds(text, 10..=300_000)?;
        Ok(())
    }),
    used("socket.connection.setup.timeout.ms", |draft, text| {
        draft.config.connect_timeout = milliseconds(text, 1000..=2_147_483_647)?;
        Ok(())
    }),
    used("socket.send.buffer.bytes", |draft, text| {
        draft.tcp.send_buffer = bytes(text, 0..=100_000_000)?;
        Ok(())
    }),
    used("socket.receive.buffer.bytes", |draft, text| {
        draft.tcp.receive_buffer = bytes(text, 0..=100_000_000)?;
        Ok(())
    }),
    used("socket.keepalive.enable", |draft, text| {
        draft.tcp.keepalive = boolean(text)?;
        Ok(())
    }),
    used("socket.nagle.disable", |draft, text| {
        draft.tcp.nagle = !boolean(text)?;
        Ok(())
    }),
    used("broker.address.family", |draft, text| {
        draft.tcp.family = match text {
            "any" => AddressFamily::Any,
            "v4" => AddressFamily::V4,
            "v6" => AddressFamily::V6,
            _ => return Err("it takes any, v4 or v6".to_owned()),
        };
        Ok(())
    }),
    used("reconnect.backoff.ms", |draft, text| {
        draft.config.reconnect_backoff = milliseconds(text, 0..=3_600_000)?;
        Ok(())
    }),
    used("reconnect.backoff.max.ms", |draft, text| {
        draft.config.reconnect_backoff_max = milliseconds(text, 0..=3_600_000)?;
        Ok(())
    }),
    used("retry.backoff.ms", |draft, text| {
        draft.config.retry_backoff = milliseconds(text, 1..=300_000)?;
        Ok(())
    }),
    used("retry.backoff.max.ms", |draft, text| {
        draft.config.retry_backoff_max = milliseconds(text, 1..=300_000)?;
        Ok(())
    }),
    used("topic.metadata.refresh.interval.ms", |draft, text| {
        // librdkafka's −1 turns it off, so that new topics and partitions would never be backed up.
        draft.config.metadata_refresh_interval = milliseconds(text, 1..=3_600_000)?;
        Ok(())
    }),
    used("receive.message.max.bytes", |draft, text| {
        draft.config.max_response_bytes = bytes(text, 1000..=2_147_483_647)?;
        Ok(())
    }),
    only(
        "client.dns.lookup",
        &["use_all_dns_ips"],
        "all addresses of a broker are tried",
    ),
    only(
        "api.version.request",
        &["true"],
        "brokers are always asked for their versions",
    ),
    only(
        "allow.auto.create.topics",
        &["false"],
        "topics are only created by a restore that says so",
    ),
    only(
        "metadata.recovery.strategy",
        &["rebootstrap"],
        "the bootstrap servers are always asked when no broker answers",
    ),
    unsupported("client.rack", "records are always read from the leaders"),
    unsupported(
        "topic.blacklist",
        "exclude topics where the backup selects them",
    ),
    harmless("api.version.request.timeout.ms"),
    harmless("api.version.fallback.ms"),
    harmless("broker.version.fallback"),
    harmless("broker.address.ttl"),
    harmless("connections.max.idle.ms"),
    harmless("metadata.max.age.ms"),
    harmless("metadata.recovery.rebootstrap.trigger.ms"),
    harmless("reconnect.backoff.jitter.ms"),
    harmless("socket.blocking.max.ms"),
    harmless("socket.max.fails"),
    harmless("topic.metadata.propagation.max.ms"),
    harmless("topic.metadata.refresh.fast.cnt"),
    harmless("topic.metadata.refresh.fast.interval.ms"),
    harmless("topic.metadata.refresh.sparse"),
    // Fetching.
    used("fetch.wait.max.ms", |draft, text| {
        draft.config.fetch.max_wait = milliseconds(text, 0..=300_000)?;
        Ok(())
    }),
    used("fetch.min.bytes", |draft, text| {
        draft.config.fetch.min_bytes = number(text, 1..=100_000_000)? as i32;
        Ok(())
    }),
    used("fetch.max.bytes", |draft, text| {
        draft.config.fetch.max_bytes = number(text, 0..=2_147_483_135)? as i32;
        Ok(())
    }),
    Property {
        name: "fetch.message.max.bytes",
        alias_of: None,
        meaning: PARTITION_BYTES,
    },
    alias(
        "max.partition.fetch.bytes",
        "fetch.message.max.bytes",
        PARTITION_BYTES,
    ),
    used("queued.max.messages.kbytes", |draft, text| {
        draft.config.fetch_queue_bytes = Some(bytes(text, 1..=2_097_151)? * 1024);
        Ok(())
    }),
    only(
        "isolation.level",
        &["read_committed"],
        "records of open or aborted transactions are not backed up",
    ),
    only("check.crcs", &["true"], "every batch is checked"),
    only(
        "auto.offset.reset",
        &["earliest", "smallest", "beginning"],
        "a backup begins with the oldest record of a topic",
    ),
    harmless("auto.commit.enable"),
    harmless("auto.commit.interval.ms"),
    harmless("consume.callback.max.messages"),
    harmless("coordinator.query.interval.ms"),
    harmless("enable.auto.commit"),
    harmless("enable.auto.offset.store"),
    harmless("enable.partition.eof"),
    harmless("fetch.error.backoff.ms"),
    harmless("fetch.queue.backoff.ms"),
    harmless("group.id"),
    harmless("group.instance.id"),
    harmless("group.protocol"),
    harmless("group.protocol.type"),
    harmless("group.remote.assignor"),
    harmless("heartbeat.interval.ms"),
    harmless("max.poll.interval.ms"),
    harmless("offset.store.method"),
    harmless("offset.store.path"),
    harmless("offset.store.sync.interval.ms"),
    harmless("partition.assignment.strategy"),
    harmless("queued.min.messages"),
    harmless("session.timeout.ms"),
    // Producing.
    Property {
        name: "request.required.acks",
        alias_of: None,
        meaning: ACKS,
    },
    alias("acks", "request.required.acks", ACKS),
    used("request.timeout.ms", |draft, text| {
        draft.config.produce.timeout = milliseconds(text, 1..=900_000)?;
        Ok(())
    }),
    Property {
        name: "max.in.flight.requests.per.connection",
        alias_of: None,
        meaning: MAX_IN_FLIGHT,
    },
    alias(
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        MAX_IN_FLIGHT,
    ),
    used("queue.buffering.max.kbytes", |draft, text| {
        draft.config.produce_queue_bytes = Some(bytes(text, 1..=2_147_483_647)? * 1024);
        Ok(())
    }),
    Property {
        name: "compression.codec",
        alias_of: None,
        meaning: COMPRESSION,
    },
    alias("compression.type", "compression.codec", COMPRESSION),
    used("compression.level", |draft, text| {
        // librdkafka ends at 12, its LZ4's highest; zstd goes on to 22.
        let level = number(text, -1..=22)?;
        draft.config.compression_level = (level >= 0).then_some(level as i32);
        Ok(())
    }),
    only(
        "enable.idempotence",
        &["true"],
        "a restore is always idempotent",
    ),
    only(
        "queuing.strategy",
        &["fifo"],
        "a restore keeps the order of records",
    ),
    unsupported("partitioner", PARTITIONER),
    unsupported("transactional.id", TRANSACTIONS),
    unsupported("transaction.timeout.ms", TRANSACTIONS),
    harmless("batch.num.messages"),
    harmless("batch.size"),
    harmless("delivery.report.only.error"),
    harmless("delivery.timeout.ms"),
    harmless("enable.gapless.guarantee"),
    harmless("linger.ms"),
    harmless("message.copy.max.bytes"),
    harmless("message.max.bytes"),
    harmless("message.send.max.retries"),
    harmless("message.timeout.ms"),
    harmless("produce.offset.report"),
    harmless("queue.buffering.backpressure.threshold"),
    harmless("queue.buffering.max.messages"),
    harmless("queue.buffering.max.ms"),
    harmless("retries"),
    harmless("sticky.partitioning.linger.ms"),
    // What librdkafka itself logs and measures.
    harmless("debug"),
    harmless("enable.metrics.push"),
    harmless("enable.random.seed"),
    harmless("enabled_events"),
    harmless("internal.termination.signal"),
    harmless("log.connection.close"),
    harmless("log.queue"),
    harmless("log.thread.name"),
    harmless("log_level"),
    harmless("statistics.interval.ms"),
    unsupported("builtin.features", "armory is not built on librdkafka"),
    unsupported(
        "plugin.library.paths",
        "armory is not built on librdkafka; its plugins are WASI components",
    ),
    // Encryption and authentication.
    used("security.protocol", |draft, text| {
        draft.security.protocol = Some(Protocol::parse(text)?);
        Ok(())
    }),
    used("enable.ssl.certificate.verification", |draft, text| {
        draft.security.tls.no_verification = !boolean(text)?;
        Ok(())
    }),
    used("ssl.endpoint.identification.algorithm", |draft, text| {
        draft.security.tls.any_host_name = match text {
            "https" => false,
            "none" => true,
            _ => return Err("it takes https or none".to_owned()),
        };
        Ok(())
    }),
    used("ssl.ca.location", |draft, text| {
        // librdkafka's `probe` looks where systems keep their authorities; here that is done when nothing is given.
        draft.security.tls.trust.location = (text != "probe").then(|| text.into());
        Ok(())
    }),
    secret("ssl.ca.pem", |draft, value| {
        draft.tls.trust.pem = Some(value)
    }),
    used("ssl.certificate.location", |draft, text| {
        draft.security.tls.certificate = Some(SecretValue::File(text.into()));
        Ok(())
    }),
    secret("ssl.certificate.pem", |draft, value| {
        draft.tls.certificate = Some(value);
    }),
    used("ssl.key.location", |draft, text| {
        draft.security.tls.key = Some(SecretValue::File(text.into()));
        Ok(())
    }),
    secret("ssl.key.pem", |draft, value| draft.tls.key = Some(value)),
    secret("ssl.key.password", |draft, value| {
        draft.tls.key_password = Some(value);
    }),
    used("https.ca.location", |draft, text| {
        draft.security.token_trust.location = (text != "probe").then(|| text.into());
        Ok(())
    }),
    secret("https.ca.pem", |draft, value| {
        draft.token_trust.pem = Some(value);
    }),
    unsupported("ssl.ca.certificate.stores", STORES),
    unsupported("ssl.certificate.verify_cb", CODE),
    unsupported("ssl.cipher.suites", SAFE_TLS),
    unsupported(
        "ssl.crl.location",
        "lists of revoked certificates are not read; remove it",
    ),
    unsupported("ssl.curves.list", SAFE_TLS),
    unsupported("ssl.engine.id", OPENSSL),
    unsupported("ssl.engine.location", OPENSSL),
    unsupported("ssl.keystore.location", KEY_STORE),
    unsupported("ssl.keystore.password", KEY_STORE),
    unsupported("ssl.providers", OPENSSL),
    unsupported("ssl.sigalgs.list", SAFE_TLS),
    unsupported("ssl_ca", CODE),
    unsupported("ssl_certificate", CODE),
    unsupported("ssl_engine_callback_data", CODE),
    unsupported("ssl_key", CODE),
    Property {
        name: "sasl.mechanisms",
        alias_of: None,
        meaning: MECHANISM,
    },
    alias("sasl.mechanism", "sasl.mechanisms", MECHANISM),
    secret("sasl.username", |draft, value| draft.username = Some(value)),
    secret("sasl.password", |draft, value| draft.password = Some(value)),
    used("sasl.oauthbearer.method", |draft, text| match text {
        "oidc" => {
            draft.security.by_oidc = true;
            Ok(())
        }
        _ => Err("only oidc is supported: tokens come from a token endpoint".to_owned()),
    }),
    used("sasl.oauthbearer.token.endpoint.url", |draft, text| {
        if !text.starts_with("https://") && !text.starts_with("http://") {
            return Err("it takes an http or https URL".to_owned());
        }
        draft.security.token_url = Some(text.to_owned());
        Ok(())
    }),
    Property {
        name: "sasl.oauthbearer.client.id",
        alias_of: None,
        meaning: CLIENT_ID,
    },
    alias(
        "sasl.oauthbearer.client.credentials.client.id",
        "sasl.oauthbearer.client.id",
        CLIENT_ID,
    ),
    Property {
        name: "sasl.oauthbearer.client.secret",
        alias_of: None,
        meaning: CLIENT_SECRET,
    },
    alias(
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.client.secret",
        CLIENT_SECRET,
    ),
    used("sasl.oauthbearer.scope", |draft, text| {
        draft.security.scope = Some(text.to_owned());
        Ok(())
    }),
    used("sasl.oauthbearer.extensions", |draft, text| {
        draft.security.extensions = extensions(text)?;
        Ok(())
    }),
    only(
        "sasl.oauthbearer.grant.type",
        &["client_credentials"],
        "tokens are got by client credentials",
    ),
    only(
        "sasl.oauthbearer.metadata.authentication.type",
        &["none"],
        "tokens are got by client credentials",
    ),
    only(
        "enable.sasl.oauthbearer.unsecure.jwt",
        &["false"],
        "a token that nobody signed proves nothing",
    ),
    unsupported("oauthbearer_token_refresh_cb", CODE),
    unsupported("sasl.oauthbearer.assertion.algorithm", ASSERTION),
    unsupported("sasl.oauthbearer.assertion.claim.aud", ASSERTION),
    unsupported("sasl.oauthbearer.assertion.claim.exp.seconds", ASSERTION),
    unsupported("sasl.oauthbearer.assertion.claim.iss", ASSERTION),
    unsupported("sasl.oauthbearer.assertion.claim.jti.include", ASSERTION),
    unsupported("sasl.oauthbearer.assertion.claim.nbf.seconds", ASSERTION),
    unsupported("sasl.oauthbearer.assertion.claim.sub", ASSERTION),
    unsupported("sasl.oauthbearer.assertion.file", ASSERTION),
    unsupported("sasl.oauthbearer.assertion.jwt.template.file", ASSERTION),
    unsupported("sasl.oauthbearer.assertion.private.key.file", ASSERTION),
    unsupported(
        "sasl.oauthbearer.assertion.private.key.passphrase",
        ASSERTION,
    ),
    unsupported("sasl.oauthbearer.assertion.private.key.pem", ASSERTION),
    unsupported(
        "sasl.oauthbearer.config",
        "it makes tokens that nobody signed; use sasl.oauthbearer.method=oidc",
    ),
    unsupported("sasl.kerberos.keytab", KERBEROS),
    unsupported("sasl.kerberos.kinit.cmd", KERBEROS),
    unsupported("sasl.kerberos.min.time.before.relogin", KERBEROS),
    unsupported("sasl.kerberos.principal", KERBEROS),
    unsupported("sasl.kerberos.service.name", KERBEROS),
    // Java clients have these, and librdkafka does not: said here, because their names are no near misses.
    unsupported(
        "sasl.jaas.config",
        "it is for Java clients; use sasl.username and sasl.password",
    ),
    unsupported(
        "ssl.keystore.certificate.chain",
        "it is for Java clients; use ssl.certificate.pem",
    ),
    unsupported(
        "ssl.keystore.key",
        "it is for Java clients; use ssl.key.pem",
    ),
    unsupported("ssl.keystore.type", KEY_STORE),
    unsupported(
        "ssl.truststore.certificates",
        "it is for Java clients; use ssl.ca.pem",
    ),
    unsupported("ssl.truststore.location", TRUST_STORE),
    unsupported("ssl.truststore.password", TRUST_STORE),
    unsupported("ssl.truststore.type", TRUST_STORE),
    // Pointers into a program that uses librdkafka.
    unsupported("background_event_cb", CODE),
    unsupported("closesocket_cb", CODE),
    unsupported("connect_cb", CODE),
    unsupported("consume_cb", CODE),
    unsupported("default_topic_conf", CODE),
    unsupported("dr_cb", CODE),
    unsupported("dr_msg_cb", CODE),
    unsupported("error_cb", CODE),
    unsupported("interceptors", CODE),
    unsupported("log_cb", CODE),
    unsupported("msg_order_cmp", CODE),
    unsupported("offset_commit_cb", CODE),
    unsupported("opaque", CODE),
    unsupported("open_cb", CODE),
    unsupported("partitioner_cb", CODE),
    unsupported("rebalance_cb", CODE),
    unsupported("resolve_cb", CODE),
    unsupported("socket_cb", CODE),
    unsupported("stats_cb", CODE),
    unsupported("throttle_cb", CODE),
];
