//! JavaScript: the project's own script bundles the modules and hands them to componentize-js.

use std::path::Path;
use std::process::Command;

use super::{Project, missing};
use crate::Error;

pub(super) fn build(project: &mut Project<'_>, component: &Path) -> Result<(), Error> {
    let no_npm = || {
        missing(
            "npm",
            "install Node 20 or newer with npm from https://nodejs.org",
        )
    };
    project.once_for("package.json", "node_modules", |project| {
        let mut command = Command::new("npm");
        command.args(["install", "--no-audit", "--no-fund"]);
        project.run(&mut command, &no_npm)?;
        Ok(())
    })?;
    let mut command = Command::new("npm");
    command.args(["run", "build", "--"]).arg(component);
    let shown = project.show(&command);
    project.run(&mut command, &no_npm)?;
    if !component.is_file() {
        return Err(Error::NothingMade {
            command: shown,
            file: component.to_owned(),
            remedy: "the script build in package.json has to write the component to the file that it is given",
        });
    }
    Ok(())
}
