//! `lookout run`: the daemon.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::daemon::{Config, Start, describe};

use super::args::Global;
use super::console::{Console, Outcome};

/// Watch cameras, and tell what happens
#[derive(Args)]
#[command(after_help = "Examples:
  lookout run -c boards/lookout.toml
  lookout run --check

SIGHUP reads the configuration anew; a bundle that changes is swapped while running; SIGTERM ends within two seconds.
Without -c the configuration is ./lookout.toml, else /etc/lookout/lookout.toml.")]
pub(super) struct Run {
    /// The configuration file [default: ./lookout.toml, else /etc/lookout/lookout.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only check the configuration, and say what would happen
    #[arg(long)]
    check: bool,
    /// Forget how triggers were set on the page, by MQTT or by Home Assistant: they are as the file says
    #[arg(long, conflicts_with = "check")]
    forget_edits: bool,
}

#[derive(Serialize)]
struct Checked {
    task: &'static str,
    config: String,
    device: String,
    bundle: String,
    cameras: Vec<String>,
    triggers: Vec<String>,
}

impl Run {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        let path = self.config.unwrap_or_else(default_config);
        if !self.check {
            let (options, bundle) = (global.options(), global.bundle.clone());
            return Ok(crate::daemon::run(&path, Start { options, bundle, forget_edits: self.forget_edits })?);
        }
        let mut config = Config::read(&path)?;
        if global.bundle.is_some() {
            config.bundle = global.bundle.clone();
        }
        let bundle = config.open_bundle()?;
        let plan = describe(&config, &bundle)?;
        let checked = Checked {
            task: "run",
            config: path.display().to_string(),
            bundle: bundle.identity(),
            cameras: config.cameras.into_iter().map(|camera| camera.name).collect(),
            triggers: config.triggers.into_iter().map(|trigger| trigger.name).collect(),
            device: config.device,
        };
        console.answer(&checked, || format!("{plan}\n{} is sound\n", path.display()))
    }
}

fn default_config() -> PathBuf {
    let here = PathBuf::from("lookout.toml");
    if here.is_file() { here } else { PathBuf::from("/etc/lookout/lookout.toml") }
}
