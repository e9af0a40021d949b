//! Apache Kafka itself, and its Java clients.

use armory_broker::Broker;
use armory_testkit::{Comparison, Dataset, Kafka, unique};

use crate::scripts;
use crate::transcripts::{compare, path, play};
use crate::versions::{known_by_name, offered};
use crate::wire::Wire;

/// Whether to keep what Kafka answers now instead of comparing (`BLESS=1`): for a new Kafka or a changed script.
fn blessing() -> bool {
    std::env::var_os("BLESS").is_some()
}

fn kafka() -> &'static Kafka {
    tokio::task::block_in_place(Kafka::shared)
}

async fn check(script: scripts::Name) {
    let played = play(script, kafka().bootstrap()).await;
    if blessing() {
        std::fs::write(path(script), played).expect("the transcripts' folder can be written to");
    } else {
        compare(script, &played);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transcripts_are_kafkas() {
    for script in scripts::Name::ALL {
        check(script).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_offered_kafka_offers_too() {
    let broker = Broker::start().await.unwrap();
    let mut here = Wire::connect(&broker.bootstrap()).await;
    let mut there = Wire::connect(kafka().bootstrap()).await;
    assert_eq!(
        known_by_name(&mut here).await,
        known_by_name(&mut there).await
    );
    let ours = offered(&mut here).await;
    let kafkas = offered(&mut there).await;
    for (api, versions) in ours {
        let kafkas = kafkas
            .get(&api)
            .unwrap_or_else(|| panic!("Kafka does not offer API {api}"));
        assert_eq!(versions.start(), kafkas.start(), "API {api}");
        assert!(kafkas.contains(versions.end()), "API {api}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn java_clients_write_and_read_the_same_as_with_kafka() {
    let broker = Broker::start().await.unwrap();
    let embedded = Kafka::at(&broker.bootstrap());
    tokio::task::block_in_place(|| {
        let topic = unique("java");
        for cluster in [&embedded, kafka()] {
            cluster.create_topic(&topic, 3, &[]).unwrap();
            cluster
                .write_dataset(&Dataset::new(&topic).megabytes(5))
                .unwrap();
        }
        let equal = Comparison::new((&embedded, &topic), (kafka(), &topic))
            .run()
            .unwrap();
        assert!(equal.bytes > 5_000_000, "{equal:?}");
    });
}
