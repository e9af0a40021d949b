//! The guides for Kubernetes, followed as a reader would: every command, on a cluster that has nothing yet.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use armory_testkit::guide::{Block, blocks};
use armory_testkit::kafka::{Codec, Record};
use armory_testkit::kubernetes::Cluster;
use armory_testkit::{Kafka, guests, image};

use crate::installed::{BINARY, CHART, content};

/// Commands that cannot be had here, and what is run in their place: the image was built and loaded before, because there is
/// neither an engine for containers nor a registry.
const SUBSTITUTES: [(&str, &str); 3] = [
    (
        "docker build --file Containerfile --tag registry.example/armory:0.1.0 .",
        ":",
    ),
    (
        "cargo xtask image --release --output armory.tar --tag registry.example/armory:0.1.0",
        ":",
    ),
    ("docker load --input armory.tar", ":"),
];

/// Somebody with a checkout, a cluster and a topic.
struct Reader<'a> {
    cluster: &'a Cluster,
    folder: &'a Path,
}

impl Reader<'_> {
    /// Runs the commands of a block.
    fn run(&self, block: &Block) -> Result<()> {
        let mut script = block.text.clone();
        for (command, substitute) in SUBSTITUTES {
            script = script.replace(command, substitute);
        }
        let kubectl = self.cluster.command("kubectl");
        let programs = Path::new(kubectl.get_program())
            .parent()
            .context("a folder of programs")?;
        let path = format!("{}:{}", programs.display(), std::env::var("PATH")?);
        let settings = kubectl
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)));
        let mut shell = Command::new("sh");
        shell
            .current_dir(self.folder)
            .args(["-euc", &script])
            .envs(settings)
            .env("PATH", path);
        let output = shell.output()?;
        if !output.status.success() {
            bail!(
                "{}\n{}{}",
                block.text,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    fn see(&self, args: &[&str]) -> Result<String> {
        self.cluster.kubectl(args)
    }
}

/// The blocks of a page.
fn page(name: &str) -> Result<Vec<Block>> {
    let file = Path::new("../../docs/guide/kubernetes").join(name);
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(blocks(&text))
}

fn commands(blocks: &[Block]) -> impl Iterator<Item = &Block> {
    blocks.iter().filter(|block| block.info == "sh")
}

#[test]
fn own_cluster_the_commands_of_the_guides_work_as_they_are_written() -> Result<()> {
    let cluster = &Cluster::own()?;
    let armory = cluster.load_armory(BINARY.as_ref())?;
    cluster.tag_image(&armory, "registry.example/armory:0.1.0")?;
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("busybox.tar");
    image::busybox("docker.io/library/busybox:stable")?.write(&archive)?;
    cluster.load_image(&archive)?;
    let kafka = Kafka::shared();
    for topic in ["orders", "orders-restored"] {
        // Of an earlier run.
        let _ = kafka.delete_topic(topic);
    }
    kafka.create_topic("orders", 2, &[])?;
    let records: Vec<Record> = (0..100)
        .map(|number: i64| {
            Record::new(None, Some(&number.to_string()))
                .partition((number % 2) as i32)
                .timestamp(1_700_000_000_000 + number)
        })
        .collect();
    kafka.produce("orders", Codec::None, &records)?;

    let reader = Reader {
        cluster,
        folder: folder.path(),
    };
    let charts = fs::canonicalize(CHART)?;
    symlink(
        charts.parent().context("the charts")?,
        folder.path().join("charts"),
    )?;
    let installing = page("install.md")?;
    let [install, image, upgrade, maintenance, uninstall, delete] =
        commands(&installing).collect::<Vec<_>>()[..]
    else {
        bail!("install.md has other blocks of commands than this test knows");
    };
    let running = page("running.md")?;
    let first = running.iter().find(|block| block.info == "yaml");
    // There is no name server in the cluster.
    let first = first
        .context("the first backup")?
        .text
        .replace("kafka-bootstrap.kafka:9092", &kafka.pod_bootstrap());
    fs::write(folder.path().join("first-backup.yaml"), first)?;
    let plugin = guests::build_rust("drop-header")?;
    fs::copy(plugin, folder.path().join("remove-header.wasm"))?;

    reader.run(image)?;
    reader.run(install)?;
    for block in commands(&running) {
        reader.run(block)?;
    }
    assert_eq!(
        content(kafka.dump("orders-restored")?),
        content(kafka.dump("orders")?)
    );
    let wait = |condition: &str, what: &str| {
        reader.see(&[
            "wait",
            "--for",
            condition,
            what,
            "--timeout=2m",
            "--namespace=kafka",
        ])
    };
    wait("condition=Ready", "backup/orders")?;

    reader.run(upgrade)?;
    reader.run(maintenance)?;
    let deployment = reader.see(&[
        "get",
        "deployment/armory",
        "--namespace=kafka",
        "--output=yaml",
    ])?;
    ensure!(deployment.contains("--maintenance"), "{deployment}");
    reader.run(uninstall)?;
    // What was there is taken up again.
    reader.run(install)?;
    wait("condition=Ready", "backup/orders")?;
    reader.run(delete)?;
    let left = reader.see(&["get", "crds", "--output=name"])?;
    ensure!(!left.contains("kannika.io"), "{left}");
    wait("delete", "pvc/archive").map(drop)
}
