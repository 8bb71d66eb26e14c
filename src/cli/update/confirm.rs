//! `lookout update confirm`: the question by which a system shows that it works.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::daemon::Config;
use crate::update::Ask;
use crate::watch::{FindEvents, Question, Request};
use crate::{Code, Error, Result};

use super::super::console::{Console, Outcome};
use super::super::query::ask_page;
use super::Place;

/// How long one question waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long after an error the daemon is asked again.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Args)]
#[command(after_help = "Example:
  lookout update confirm --within 4m

Where a system is being tried, the daemon is asked on its page until it has answered or the time is over. A board asks
about its camera's picture if the system before could answer that, and else a question that needs no camera.")]
pub(in crate::cli) struct Confirm {
    /// How long the daemon may take
    #[arg(long, value_name = "TIME", default_value = "4m", value_parser = crate::seconds::parse)]
    within: Duration,
    #[command(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct Reply {
    task: &'static str,
    slot: String,
    version: Option<String>,
    /// False where it was confirmed already.
    changed: bool,
}

impl Confirm {
    pub fn run(self, console: &Console) -> Outcome {
        let card = self.place.card()?;
        let _lock = card.lock()?;
        let mut records = card.records()?;
        let running = card.running();
        let changed = records.now().trying.is_some_and(|(slot, _)| slot == running);
        if changed {
            let ask = records.now().ask;
            Daemon::of(&self.place.config)?.ask(ask, self.within)?;
            records.write(|record| {
                record.good = running;
                record.trying = None;
                record.failed = None;
            })?;
            card.confirmed()?;
        }
        let version = records.now().version(running).map(str::to_owned);
        let reply = Reply { task: "update confirm", slot: running.to_string(), version, changed };
        console.answer(&reply, || {
            let version = reply.version.as_deref().unwrap_or("the system");
            let how = if changed { "answered and is confirmed" } else { "is confirmed already" };
            format!("{version} in slot {} {how}\n", reply.slot)
        })
    }
}

/// The daemon of this board, at its page.
pub(in crate::cli) struct Daemon {
    url: String,
    token_file: Option<PathBuf>,
}

impl Daemon {
    /// By the configuration. Errors where there is none, or it has no page.
    pub fn of(config: &Path) -> Result<Self> {
        let web = Config::read(config)?.web.ok_or_else(|| {
            let message =
                format!("{}: nobody could ask the daemon whether it works, as it has no page", config.display());
            Error::new(Code::Config, message, "add: [web], and below it: listen = \"127.0.0.1:8040\"")
        })?;
        // What listens everywhere listens here, too.
        let listen = web.listen.replacen("0.0.0.0:", "127.0.0.1:", 1).replacen("[::]:", "[::1]:", 1);
        Ok(Self { url: format!("http://{listen}"), token_file: web.token_file })
    }

    /// Asks until there is an answer, `within` this time. The error is the last one.
    pub fn ask(&self, ask: Ask, within: Duration) -> Result<()> {
        let begin = Instant::now();
        loop {
            let left = within.saturating_sub(begin.elapsed());
            let answered = self.once(ask, left.clamp(PAUSE, PATIENCE));
            match answered {
                Ok(()) => return Ok(()),
                Err(error) if begin.elapsed() + PAUSE >= within => {
                    let message = format!("the daemon did not answer in {} s: {error}", within.as_secs());
                    return Err(Error::new(error.code(), message, error.help()));
                }
                Err(_) => sleep(PAUSE),
            }
        }
    }

    /// Asks once.
    pub fn once(&self, ask: Ask, patience: Duration) -> Result<()> {
        let question = match ask {
            Ask::Picture => Question::Label { labels: vec!["a dog".to_owned(), "an empty room".to_owned()] },
            Ask::Words => Question::Find(FindEvents { words: Some("a dog".to_owned()), ..FindEvents::default() }),
        };
        let request = Request { camera: None, question, picture: None };
        ask_page(&self.url, self.token_file.clone(), patience, &request)
    }
}
