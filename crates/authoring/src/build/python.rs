//! Python: componentize-py packs the interpreter, the application and its packages into a component.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Project, missing};
use crate::Error;
use crate::error::io;

/// The environment that componentize-py is installed into.
const ENVIRONMENT: &str = ".venv";
/// The packages that go into the component.
const PACKAGES: &str = "build/packages";

const BUILD_REQUIREMENTS: &str = "requirements-build.txt";
const REQUIREMENTS: &str = "requirements.txt";

pub(super) fn build(project: &mut Project<'_>, component: &Path) -> Result<(), Error> {
    let no_python = || {
        missing(
            "python3",
            "install Python 3.10 or newer, with venv (on Debian and Ubuntu: apt install python3-venv)",
        )
    };
    let no_tool = || {
        missing(
            "pip or componentize-py in .venv",
            "see that requirements-build.txt names componentize-py, and remove .venv",
        )
    };
    project.once_for(BUILD_REQUIREMENTS, ENVIRONMENT, |project| {
        let mut command = Command::new("python3");
        project.run(command.args(["-m", "venv", ENVIRONMENT]), &no_python)?;
        let mut command = pip(project);
        command.args(["--requirement", BUILD_REQUIREMENTS]);
        project.run(&mut command, &no_tool)?;
        Ok(())
    })?;
    project.once_for(REQUIREMENTS, PACKAGES, |project| {
        let folder = project.path(PACKAGES);
        fs::create_dir_all(&folder).map_err(io("make the folder", &folder))?;
        let mut command = pip(project);
        command.args(["--target", PACKAGES, "--requirement", REQUIREMENTS]);
        project.run(&mut command, &no_tool)?;
        remove_native_code(&folder)
    })?;
    let tool = project.path(ENVIRONMENT).join("bin/componentize-py");
    let mut command = Command::new(tool);
    command
        .args(["--wit-path", "wit", "componentize"])
        .args(["--python-path", ".", "--python-path", PACKAGES])
        .args(["app", "--output"])
        .arg(component);
    project.run(&mut command, &no_tool)?;
    Ok(())
}

fn pip(project: &Project<'_>) -> Command {
    let mut command = Command::new(project.path(ENVIRONMENT).join("bin/pip"));
    command.args(["install", "--quiet", "--disable-pip-version-check"]);
    command
}

/// Removes what was compiled for this machine, and cannot run in WebAssembly. Packages whose native code is only for
/// speed, as that of pyyaml, work without it.
fn remove_native_code(folder: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(io("list", folder))? {
        let path = entry.map_err(io("list", folder))?.path();
        let native = ["so", "pyd", "dylib"];
        if path.is_dir() {
            remove_native_code(&path)?;
        } else if path
            .extension()
            .is_some_and(|extension| native.iter().any(|native| extension == *native))
        {
            fs::remove_file(&path).map_err(io("remove", path))?;
        }
    }
    Ok(())
}
