//! From the archive into a topic.

use std::sync::Arc;

use armory_archive::DeadLetterStore;
use armory_engine::{EngineError, Observer, restore};
use armory_plugins::World;
use armory_resources::job::{PluginErrorAction as Action, RestoreJob, TopicMapping};
use tokio_util::sync::CancellationToken;

use super::guests::BAD;
use super::world::{CLASSES, Class, Row, Test, row, rows_of_letters};

const ACTIONS: [Action; 4] = [
    Action::Fail,
    Action::Drop,
    Action::DeadLetter,
    Action::PassThrough,
];

/// Which records are bad: of two batches the second one of the first, and the first one of the second.
const BATCHES: &[&[bool]] = &[&[false, true, false], &[true, false]];

async fn run(test: &Test, job: RestoreJob) -> Result<restore::RestoreSummary, EngineError> {
    let watch = Arc::clone(&test.watch) as Arc<dyn Observer>;
    restore::run(job, watch, CancellationToken::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_does_what_it_says_and_does_it_once() {
    let test = Test::start().await;
    let mut cells = Vec::new();
    for class in CLASSES {
        test.create(class.name(), 2).await;
        test.append(class.name(), 0, 0, BATCHES, class);
        test.append(class.name(), 1, 0, &[&[false, false], &[false]], class);
        for action in ACTIONS {
            cells.push((class, action, format!("{}-{action:?}", class.name())));
        }
    }
    let names = CLASSES.map(|class| class.name());
    let backup = test.backup_job(&names, Vec::new());
    test.backup_once(backup).await.unwrap();
    let mappings = cells
        .iter()
        .map(|(class, _, target)| TopicMapping::new(class.name(), target));
    let mut job = RestoreJob::new("r", test.storage(), test.endpoint(), mappings.collect());
    job.create_topics = true;
    let entries = cells.iter().map(|(class, action, target)| {
        test.entry(World::Restore, *class, target, class.only(*action))
    });
    job.plugins = entries.collect();
    let mut ids = Vec::new();
    // What stopped stops again, for good; the others are not written twice.
    for _ in 0..2 {
        let ended = run(&test, job.clone()).await;
        let Err(EngineError::Partitions { failed, total, .. }) = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(failed.len(), CLASSES.len(), "{failed:?}");
        assert_eq!(total, 2 * cells.len());
        for (class, action, target) in &cells {
            let rows = |offsets: &[i64]| -> Vec<Row> {
                let landed = (0..).zip(offsets);
                landed
                    .map(|(at, offset)| {
                        let (_, value, header) = row(*offset, [1, 3].contains(offset), *class);
                        (at, value, header)
                    })
                    .collect()
            };
            let expected = match action {
                Action::Fail => rows(&[]),
                Action::Drop | Action::DeadLetter => rows(&[0, 2, 4]),
                Action::PassThrough => rows(&[0, 1, 2, 3, 4]),
            };
            assert_eq!(test.landed(target, 0).await, expected, "{target}");
            let others: Vec<Row> = (0..3).map(|offset| row(offset, false, *class)).collect();
            assert_eq!(test.landed(target, 1).await, others, "{target}");
            let why = failed.iter().find(|why| {
                why.contains(&format!(
                    "topic {} -> {target}, partition 0, offset 1: ",
                    class.name()
                ))
            });
            assert_eq!(why.is_some(), *action == Action::Fail, "{failed:?}");
        }
        let restores = std::fs::read_dir(test.root().join("restores")).unwrap();
        ids = restores
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
    }
    assert_eq!(ids.len(), 1);
    // However often it was run, they are there once.
    let archive = test.archive().await;
    let files = restore::dead_letters(&archive, &ids[0]).await.unwrap();
    for class in CLASSES {
        let key = test.key(class.name()).await.partition(0);
        let mut letters = Vec::new();
        for file in files.iter().filter(|file| file.partition == key) {
            let store = DeadLetterStore::new(&archive);
            letters.extend(store.read(&key, &file.letters).await.unwrap());
        }
        assert_eq!(
            rows_of_letters(&letters),
            [row(1, true, class), row(3, true, class)]
        );
        assert!(letters.iter().all(|letter| letter.class == class.name()));
    }
}

/// What a backup put aside is put back behind what the target holds, once, and through the restore's own plugins.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_put_back_once() {
    let test = Test::start().await;
    let class = Class::Error;
    test.create("orders", 1).await;
    test.append("orders", 0, 0, BATCHES, class);
    let policy = class.only(Action::DeadLetter);
    let entry = test.entry(World::Backup, class, "orders", policy);
    let job = test.backup_job(&["orders"], vec![entry]);
    test.backup_once(job).await.unwrap();

    let mapping = TopicMapping::new("orders", "copy");
    let mut job = RestoreJob::new("r", test.storage(), test.endpoint(), vec![mapping]);
    job.create_topics = true;
    run(&test, job.clone()).await.unwrap();
    job.dead_letters = true;
    let summary = run(&test, job.clone()).await.unwrap();
    assert_eq!((summary.records, summary.was_complete), (2, false));
    let again = run(&test, job.clone()).await.unwrap();
    assert_eq!((again.records, again.was_complete), (2, true));
    let bad = |at| (at, BAD.to_vec(), false);
    let mut expected = vec![
        row(0, false, class),
        (1, b"good 2".to_vec(), false),
        (2, b"good 4".to_vec(), false),
        bad(3),
        bad(4),
    ];
    assert_eq!(test.landed("copy", 0).await, expected);

    // With a plugin on the way they are records like any other.
    std::fs::remove_file(test.folder.path().join("error.wasm")).unwrap();
    let through = class.only(Action::PassThrough);
    job.plugins = vec![test.entry(World::Restore, class, "copy", through)];
    run(&test, job).await.unwrap();
    expected.extend([bad(5), bad(6)]);
    assert_eq!(test.landed("copy", 0).await, expected);
}
