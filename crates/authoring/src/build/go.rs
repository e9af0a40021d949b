//! Go: its own compiler makes a module for the first WASI, which becomes a component here.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Project, missing};
use crate::error::io;
use crate::{Error, component, encode};

/// Where the compiler leaves the module.
const MODULE: &str = "build/plugin.wasm";

pub(super) fn build(project: &mut Project<'_>, component: &Path) -> Result<(), Error> {
    let mut command = Command::new("go");
    command
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        // A library that stays, rather than a program that ends; and no symbols, which double its size.
        .args(["build", "-buildmode=c-shared", "-ldflags=-s -w"])
        // The same module in any checkout.
        .args(["-trimpath", "-buildvcs=false", "-o", MODULE, "."]);
    let no_go = || missing("go", "install Go 1.24 or newer from https://go.dev/dl");
    project.run(&mut command, &no_go)?;
    let module = project.path(MODULE);
    let mut bytes = fs::read(&module).map_err(io("read", module))?;
    component::embed(&mut bytes, &project.path("wit"))?;
    fs::write(component, encode(&bytes)?).map_err(io("write", component))
}
