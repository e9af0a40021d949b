//! The Kubernetes cluster of this checkout, for development: the one that tests share.

use std::path::PathBuf;
use std::process::Command as Program;

use anyhow::{Context, Result, bail};
use armory_testkit::kubernetes::{self, Cluster, Component};
use clap::Subcommand;

use crate::commands;

/// What to do with the cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build its programs, or find them in the cache
    Build,
    /// Start it, if it does not run, and let it run until `down`; tests use it, too
    ///
    /// Prints the path of its kubeconfig. Starting takes 10 seconds.
    Up,
    /// End it, with everything in it
    Down,
    /// Tell whether it runs, and what runs in it; exit status 1 if it does not
    Status,
    /// Make images known to its node
    Load {
        /// Archives, as `cargo xtask image` and `docker save` write them
        #[arg(required = true, value_name = "TAR")]
        archives: Vec<PathBuf>,
    },
    /// Run kubectl as an administrator
    Kubectl {
        /// What kubectl is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run Helm as an administrator
    Helm {
        /// What Helm is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run a program of this machine in the cluster's network, where pods and Services have their addresses
    #[command(after_help = "Example:
  cargo xtask cluster exec curl -s 10.244.0.7:9000/metrics")]
    Exec {
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Kill one of its components, which starts again after half a second
    Restart {
        /// etcd, apiserver, controllers, scheduler, kubelet, containerd, proxy or provisioner
        #[arg(value_parser = component)]
        component: Component,
    },
}

fn component(name: &str) -> Result<Component, String> {
    let found = Component::ALL.iter().find(|(one, _)| *one == name);
    let names = Component::ALL.map(|(name, _)| name).join(", ");
    found
        .map(|(_, component)| *component)
        .ok_or(format!("it is one of {names}"))
}

/// Does what the command says; false when `status` finds no cluster.
pub(crate) fn run(command: Command) -> Result<bool> {
    match command {
        Command::Build => println!("{}", kubernetes::programs()?.display()),
        Command::Up => {
            let cluster = Cluster::join_shared()?;
            cluster.keep()?;
            println!("{}", cluster.kubeconfig().display());
        }
        Command::Down => {
            if !kubernetes::end_shared()? {
                eprintln!("no cluster runs");
            }
        }
        Command::Status => return status(),
        Command::Load { archives } => {
            let cluster = running()?;
            for archive in archives {
                cluster.load_image(&archive)?;
            }
        }
        Command::Kubectl { args } => commands::run(running()?.command("kubectl").args(args))?,
        Command::Helm { args } => commands::run(running()?.command("helm").args(args))?,
        Command::Exec { command } => {
            let (program, args) = command.split_first().context("clap requires it")?;
            commands::run(running()?.exec(program).args(args))?;
        }
        Command::Restart { component } => running()?.restart(component)?,
    }
    Ok(true)
}

/// The cluster, which is not started for this.
fn running() -> Result<Cluster> {
    if kubernetes::shared_kubeconfig()?.is_none() {
        bail!("no cluster runs: start it with `cargo xtask cluster up`");
    }
    Cluster::join_shared()
}

fn status() -> Result<bool> {
    let Some(kubeconfig) = kubernetes::shared_kubeconfig()? else {
        println!("no cluster runs");
        return Ok(false);
    };
    let cluster = running()?;
    println!("KUBECONFIG={}", kubeconfig.display());
    println!("logs: {}", cluster.logs().display());
    let mut kubectl: Program = cluster.command("kubectl");
    commands::run(kubectl.args(["get", "nodes,pods", "--all-namespaces", "--output", "wide"]))?;
    Ok(true)
}
