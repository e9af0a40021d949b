//! Apache Kafka's jars, taken from Maven's central repository: broker, clients and command line tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache;

/// The version of Apache Kafka that everything is tested against.
pub const VERSION: &str = "4.3.1";
const LOG4J_VERSION: &str = "2.25.4";
const DEPENDENCY_PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1";

/// The folder of Kafka's jars: `$ARMORY_KAFKA_LIB`, or the cache, filled by Maven on first use.
pub fn jars() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("ARMORY_KAFKA_LIB").filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let lib = cache::root()?.join("kafka").join(VERSION).join("lib");
    cache::once(&lib, download)
}

/// Lets Maven copy the jars and everything they need into the folder `lib`.
fn download(lib: &Path) -> Result<()> {
    let project = tempfile::tempdir()?;
    fs::write(project.path().join("pom.xml"), pom())?;
    cache::run(
        Command::new("mvn")
            .current_dir(project.path())
            .args([
                "-B",
                "-q",
                &format!("{DEPENDENCY_PLUGIN}:copy-dependencies"),
            ])
            .arg("-DincludeScope=runtime")
            .arg(format!("-DoutputDirectory={}", lib.display())),
    )
    .context("cannot fetch Apache Kafka through Maven")?;
    Ok(())
}

/// Kafka Connect comes only with the tools for it, and brings a web server along that nothing here uses.
fn pom() -> String {
    let dependency = |group: &str, artifact: &str, version: &str, exclusions: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version>{exclusions}</dependency>"
        )
    };
    let connect: String = ["connect-runtime", "connect-api", "connect-json"]
        .map(|artifact| {
            format!(
                "<exclusion><groupId>org.apache.kafka</groupId>\
                 <artifactId>{artifact}</artifactId></exclusion>"
            )
        })
        .concat();
    let dependencies = [
        dependency("org.apache.kafka", "kafka_2.13", VERSION, ""),
        dependency(
            "org.apache.kafka",
            "kafka-tools",
            VERSION,
            &format!("<exclusions>{connect}</exclusions>"),
        ),
        dependency(
            "org.apache.logging.log4j",
            "log4j-slf4j-impl",
            LOG4J_VERSION,
            "",
        ),
    ]
    .concat();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>armory</groupId><artifactId>kafka</artifactId><version>1</version>\
         <packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>\n"
    )
}
