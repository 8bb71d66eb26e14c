//! `lookout flash settings`

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::daemon::Config;
use crate::flash::Settings;
use crate::{Code, Error, Result};

use super::super::console::{Console, Outcome};

/// The daemon's configuration in a system.
const CONFIG: &str = "etc/lookout/lookout.toml";

#[derive(Args)]
#[command(after_help = "Example:
  lookout flash settings settings.toml")]
pub(in crate::cli) struct ReadSettings {
    /// The settings
    file: PathBuf,
    /// Make the system whose root is this folder so; boards do this at every start
    #[arg(long, value_name = "FOLDER")]
    apply: Option<PathBuf>,
}

#[derive(Serialize)]
struct Reply {
    task: &'static str,
    settings: Vec<String>,
}

impl ReadSettings {
    pub fn run(self, console: &Console) -> Outcome {
        let settings = self.read();
        if let Some(root) = &self.apply {
            // What is wrong with one file is no reason to leave out the other.
            let known = settings.as_ref().cloned().unwrap_or_default();
            let configured = configure(&known, &self.file.with_file_name("lookout.toml"), root);
            settings.and_then(|settings| settings.apply(root))?;
            configured?;
            name_machine(root);
            return self.tell(&known, console);
        }
        self.tell(&settings?, console)
    }

    fn read(&self) -> Result<Settings> {
        let shown = self.file.display().to_string();
        let text = fs::read_to_string(&self.file).map_err(|error| {
            let message = format!("the settings {shown} cannot be read: {error}");
            Error::new(Code::Input, message, "an example is boards/image/settings.toml")
        })?;
        Settings::parse(&text, &shown)
    }

    fn tell(&self, settings: &Settings, console: &Console) -> Outcome {
        let reply = Reply { task: "flash settings", settings: settings.describe() };
        console.answer(&reply, || match &reply.settings[..] {
            [] => format!("{} is sound, and sets nothing\n", self.file.display()),
            lines => lines.join("\n") + "\n",
        })
    }
}

/// Writes the daemon's configuration: the user's own, beside the settings, if there is one and it makes sense; else the
/// system's. A board whose daemon does not start because of a misspelt word would be of no use to anybody.
fn configure(settings: &Settings, own: &Path, root: &Path) -> Result<()> {
    let path = root.join(CONFIG);
    let shown = |error: std::io::Error| {
        Error::new(Code::Output, format!("{} cannot be changed: {error}", path.display()), "run it as root")
    };
    let folder = path.parent().unwrap_or(root);
    let sound = |text: &str, name: &str| {
        let text = settings.config(text)?;
        Config::parse(&text, name, folder).map(|_| text)
    };
    let own_text = own.exists().then(|| fs::read_to_string(own));
    let complaint = match own_text {
        None => None,
        Some(Ok(text)) => match sound(&text, &own.display().to_string()) {
            Ok(text) => return fs::write(&path, text).map_err(shown),
            Err(error) => Some(error),
        },
        Some(Err(error)) => {
            let message = format!("{} cannot be read: {error}", own.display());
            Some(Error::new(Code::Input, message, "the configuration of the image counts"))
        }
    };
    let text = sound(&fs::read_to_string(&path).map_err(shown)?, CONFIG)?;
    fs::write(&path, text).map_err(shown)?;
    complaint.map_or(Ok(()), Err)
}

/// The kernel's name of the machine, where the system is the one that runs.
fn name_machine(root: &Path) {
    if root == Path::new("/")
        && let Ok(name) = fs::read_to_string("/etc/hostname")
    {
        let _ = fs::write("/proc/sys/kernel/hostname", name.trim());
    }
}
