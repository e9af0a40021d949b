//! `armory completions`

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::exit::Exit;

pub(super) fn run(shell: Shell) -> anyhow::Result<Exit> {
    // Written in one piece: the generator panics where nobody reads its output.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "armory", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Exit::Done)
}
