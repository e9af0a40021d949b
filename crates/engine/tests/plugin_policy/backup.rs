//! From a topic into the archive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use armory_archive::GapCause;
use armory_engine::{EngineError, Observer, backup};
use armory_plugins::World;
use armory_resources::job::{PluginErrorAction as Action, PluginErrorPolicy, PluginStopRule};
use tokio_util::sync::CancellationToken;

use super::world::{CLASSES, Class, Row, Test, row, rows_of_letters};

const ACTIONS: [Action; 4] = [
    Action::Fail,
    Action::Drop,
    Action::DeadLetter,
    Action::PassThrough,
];

/// Offset 0, then 1 (bad) and 2 in one batch, 3 (bad) alone, 4.
const BATCHES: &[&[bool]] = &[&[false], &[true, false], &[true], &[false]];

fn rows(offsets: &[i64], class: Class) -> Vec<Row> {
    let bad = [1, 3];
    let rows = offsets.iter();
    rows.map(|offset| row(*offset, bad.contains(offset), class))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_does_what_it_says_and_does_it_once() {
    let test = Test::start().await;
    let mut cells = Vec::new();
    for class in CLASSES {
        for action in ACTIONS {
            let topic = format!("{}-{action:?}", class.name());
            let key = test.create(&topic, 2).await;
            test.append(&topic, 0, 0, BATCHES, class);
            test.append(&topic, 1, 0, &[&[false, false], &[false]], class);
            cells.push((class, action, topic, key));
        }
    }
    let names: Vec<&str> = cells.iter().map(|cell| cell.2.as_str()).collect();
    let entries = cells.iter().map(|(class, action, topic, _)| {
        test.entry(World::Backup, *class, topic, class.only(*action))
    });
    let job = test.backup_job(&names, entries.collect());
    // The second run finds everything done, and stops where the first one did.
    for run in 0..2 {
        let ended = test.backup_once(job.clone()).await;
        let Err(EngineError::Partitions { failed, .. }) = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(failed.len(), CLASSES.len(), "{failed:?}");
        let progress = test.watch.backup.lock().unwrap().clone();
        if run == 0 {
            // Two records of each class.
            assert_eq!(progress.filtered, 2 * CLASSES.len() as u64);
            assert_eq!(progress.dead_lettered, 2 * CLASSES.len() as u64);
        }
        for (class, action, topic, key) in &cells {
            let (kept, gaps): (&[i64], _) = match action {
                Action::Fail => (&[0], BTreeMap::new()),
                Action::Drop => (&[0, 2, 4], BTreeMap::from([(GapCause::Filtered, 1)])),
                Action::DeadLetter => (&[0, 2, 4], BTreeMap::from([(GapCause::DeadLettered, 1)])),
                Action::PassThrough => (&[0, 1, 2, 3, 4], BTreeMap::new()),
            };
            let put_aside: &[i64] = match action {
                Action::DeadLetter => &[1, 3],
                _ => &[],
            };
            let letters = test.dead_letters(key, 0).await;
            assert_eq!(
                rows_of_letters(&letters),
                rows(put_aside, *class),
                "{topic}"
            );
            for letter in letters {
                assert_eq!(letter.plugin, format!("{}.wasm", class.name()));
                assert_eq!(
                    (letter.class.as_str(), letter.digest.len()),
                    (class.name(), 64)
                );
                assert_eq!(letter.timestamp, 1_700_000_000_000 + letter.offset);
                assert!(!letter.message.is_empty());
            }
            assert_eq!(test.archived(key, 0).await, rows(kept, *class), "{topic}");
            assert_eq!(test.gaps(key, 0).await, gaps, "{topic}");
            let others: Vec<Row> = (0..3).map(|offset| row(offset, false, *class)).collect();
            assert_eq!(test.archived(key, 1).await, others, "{topic}");
            let why = failed.iter().find(|why| why.contains(topic.as_str()));
            assert_eq!(why.is_some(), *action == Action::Fail, "{failed:?}");
            if let Some(why) = why {
                let plugin = format!("plugin {}.wasm ", class.name());
                let place = format!("topic {topic}, partition 0, offset 1: ");
                assert!(why.contains(&plugin) && why.contains(&place), "{why}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_failures_stop_the_partition_and_no_other() {
    let test = Test::start().await;
    let key = test.create("orders", 2).await;
    let class = Class::Error;
    let batches: &[&[bool]] = &[&[true], &[false], &[true], &[false], &[true], &[false]];
    test.append("orders", 0, 0, batches, class);
    test.append("orders", 1, 0, &batches[..4], class);
    let policy = PluginErrorPolicy {
        stop_rule: Some(PluginStopRule {
            max_failures: 2,
            window: 5,
        }),
        ..class.only(Action::Drop)
    };
    let entry = test.entry(World::Backup, class, "orders", policy);
    let ended = test.backup_once(test.backup_job(&["orders"], vec![entry]));
    let Err(EngineError::Partitions { failed, .. }) = ended.await else {
        panic!("it does not stop");
    };
    assert_eq!(failed.len(), 1, "{failed:?}");
    let place = "has failed on too many records: topic orders, partition 0, offset 4: ";
    assert!(failed[0].contains(place), "{failed:?}");
    for partition in 0..2 {
        let kept = [row(1, false, class), row(3, false, class)];
        assert_eq!(test.archived(&key, partition).await, kept);
    }
}

/// The plugin is replaced by one that accepts everything: nobody has to start the backup again.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_backup_goes_on_when_the_plugin_was_mended() {
    let test = Test::start().await;
    let key = test.create("orders", 2).await;
    let class = Class::Fault;
    test.append("orders", 0, 0, BATCHES, class);
    let entry = test.entry(World::Backup, class, "orders", PluginErrorPolicy::default());
    let armory_resources::job::PluginSource::Wasi { file, .. } = entry.source.clone() else {
        panic!("it is a file");
    };
    let job = test.backup_job(&["orders"], vec![entry]);
    let (watch, stop) = (Arc::clone(&test.watch), CancellationToken::new());
    let run = backup::run(
        job,
        backup::Until::Stopped,
        Arc::clone(&watch) as Arc<dyn Observer>,
        stop.clone(),
    );
    let running = tokio::spawn(run);
    watch
        .remarked("orders-0 pauses and is opened again: plugin stopped topic orders: plugin fault.wasm fails on a record: topic orders, partition 0, offset 1: ")
        .await;
    // What came before is committed, and the other partition goes on.
    test.append("orders", 1, 0, &[&[false]], class);
    let deadline = Instant::now() + Duration::from_secs(60);
    let wait = async |partition, expected: Vec<Row>| {
        while test.archived(&key, partition).await != expected {
            assert!(Instant::now() < deadline, "partition {partition}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    wait(0, rows(&[0], class)).await;
    wait(1, rows(&[0], class)).await;
    let broken = test.manifests(&key, 0).await[0].plugins.clone();

    let guest = super::guests::GuestText::backup();
    std::fs::write(&file, guest.component()).unwrap();
    wait(0, rows(&[0, 1, 2, 3, 4], class)).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let manifests = test.manifests(&key, 0).await;
    assert_eq!(manifests[0].plugins, broken);
    let mended = manifests.last().unwrap();
    assert_ne!(mended.plugins, broken, "it names what it was made by");
    assert!(!mended.open);
}
