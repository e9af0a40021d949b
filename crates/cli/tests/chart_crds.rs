//! The chart carries the very definitions that this build of the command reads.

use std::fs;
use std::path::Path;

use assert_cmd::Command;

/// Mended by `cargo run -- crds > charts/armory/files/crds.yaml`.
#[test]
fn the_chart_has_the_definitions_that_the_command_prints() {
    let chart = Path::new("../../charts/armory/files/crds.yaml");
    let carried = fs::read_to_string(chart).expect("the chart has them");
    let output = Command::new(env!("CARGO_BIN_EXE_armory"))
        .arg("crds")
        .output()
        .expect("the command runs");
    let printed = String::from_utf8(output.stdout).expect("it is text");
    // Not assert_eq, which would print both: thousands of lines.
    let lines = carried.lines().zip(printed.lines());
    if let Some((number, (old, new))) = lines.enumerate().find(|(_, (old, new))| old != new) {
        panic!(
            "{}:{}: `{old}` in the chart, `{new}` in the command; run \
             `cargo run -- crds > charts/armory/files/crds.yaml`",
            chart.display(),
            number + 1
        );
    }
    assert!(carried == printed, "one of them is longer");
    // Definitions that went with a release would take every resource with them.
    let definitions = printed.matches("\nkind: CustomResourceDefinition").count();
    let kept = printed.matches("helm.sh/resource-policy: keep").count();
    assert_eq!((definitions, kept), (8, 8));
}

#[test]
fn the_chart_has_the_version_of_the_command() {
    let chart = fs::read_to_string("../../charts/armory/Chart.yaml").expect("it is there");
    let version = env!("CARGO_PKG_VERSION");
    for key in ["version", "appVersion"] {
        assert!(chart.contains(&format!("\n{key}: {version}\n")), "{chart}");
    }
    let image = fs::read_to_string("../../Containerfile").expect("it is there");
    assert!(image.contains(&format!("org.opencontainers.image.version=\"{version}\"")));
}
