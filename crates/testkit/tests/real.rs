//! The test kit itself, with the programs that it starts.
#![cfg(feature = "real")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::Result;
use armory_testkit::{Kafka, KafkaOptions, S3, unique};

#[test]
fn the_shared_broker_answers() -> Result<()> {
    let kafka = Kafka::shared();
    let topic = unique("orders");
    let bootstrap = ["--bootstrap-server", kafka.bootstrap()];
    let create = ["--create", "--topic", &topic, "--partitions", "3"];
    kafka.tool("topics", &[&bootstrap[..], &create].concat())?;
    let listed = kafka.tool("topics", &[&bootstrap[..], &["--list"]].concat())?;
    assert!(listed.lines().any(|line| line == topic), "{listed}");
    Ok(())
}

#[test]
fn own_kafka_keeps_its_data_and_ports_over_a_restart() -> Result<()> {
    let mut kafka = Kafka::start(KafkaOptions::default().property("num.io.threads", "2"))?;
    let topics = |kafka: &Kafka, args: &[&str]| {
        kafka.tool(
            "topics",
            &[&["--bootstrap-server", kafka.bootstrap()], args].concat(),
        )
    };
    topics(&kafka, &["--create", "--topic", "orders"])?;
    kafka.kill()?;
    assert!(TcpStream::connect(kafka.bootstrap()).is_err());
    kafka.start_again()?;
    kafka.stop()?;
    kafka.start_again()?;
    assert_eq!(topics(&kafka, &["--list"])?.trim(), "orders");
    kafka.pause()?;
    kafka.resume()?;
    Ok(())
}

#[test]
fn own_kafka_of_three_nodes_survives_the_loss_of_one() -> Result<()> {
    let mut kafka = Kafka::start(KafkaOptions::three_nodes())?;
    kafka.node(1).kill()?;
    let bootstrap = kafka.bootstrap().to_owned();
    let create = ["--create", "--topic", "orders", "--replication-factor", "2"];
    let started = Instant::now();
    // The controller notices the loss after its session timeout.
    while let Err(error) = kafka.tool(
        "topics",
        &[&["--bootstrap-server", &bootstrap], &create[..]].concat(),
    ) {
        assert!(started.elapsed() < Duration::from_secs(60), "{error}");
    }
    kafka.node(1).start_again()
}

#[test]
fn s3_serves_and_asks_for_credentials() -> Result<()> {
    let s3 = S3::start()?;
    std::fs::write(s3.root().join(s3.bucket()).join("object"), "content")?;
    let address = s3.endpoint().replace("http://", "");
    let mut stream = TcpStream::connect(&address)?;
    write!(
        stream,
        "GET /{}/object HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
        s3.bucket()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    Ok(())
}
