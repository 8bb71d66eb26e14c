//! What triggers do besides telling: GPIO outputs that are on as long as an event, and commands.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::Result;
use crate::board::Outputs;
use crate::watch::{Desk, Event, EventId, Phase, Report};

use super::hub::Hub;
use super::keeper::no_thread;

/// Commands that may run at once.
const MOST_COMMANDS: usize = 8;

/// How long a command may run.
const MOST_TIME: Duration = Duration::from_secs(60);

const TICK: Duration = Duration::from_millis(250);

/// Starts the thread. It ends when the hub is gone, or when `end` is closed; outputs are off then.
pub(super) fn start(hub: &Arc<Hub>, outputs: Outputs, end: Receiver<()>) -> Result<JoinHandle<()>> {
    let heard = hub.listen();
    let hub = hub.clone();
    let act = move || {
        let mut acts = Acts { hub, outputs, on: BTreeMap::new(), begun: BTreeMap::new(), running: Vec::new() };
        loop {
            match heard.recv_timeout(TICK) {
                Ok(report) => acts.act(&report),
                Err(RecvTimeoutError::Timeout)
                    if matches!(end.try_recv(), Err(crossbeam_channel::TryRecvError::Empty)) => {}
                Err(_) => break,
            }
            acts.reap();
        }
        acts.all_off();
    };
    std::thread::Builder::new().name("acts".to_owned()).spawn(act).map_err(no_thread)
}

struct Acts {
    hub: Arc<Hub>,
    outputs: Outputs,
    /// The events that keep each output on.
    on: BTreeMap<String, BTreeSet<EventId>>,
    /// The commands that were told of the begin of an event, and are to be told of its end, though the trigger may have
    /// been changed or removed meanwhile.
    begun: BTreeMap<EventId, Vec<String>>,
    running: Vec<(String, Instant, Child)>,
}

impl Acts {
    fn act(&mut self, report: &Report) {
        let event = &report.event;
        let command = match event.phase {
            Phase::Begin => self.begin(event),
            Phase::Update => return,
            Phase::End => {
                self.release(event.id);
                self.begun.remove(&event.id)
            }
        };
        if let Some([program, arguments @ ..]) = command.as_deref() {
            self.command(program, arguments, event);
        }
    }

    /// Switches on the trigger's output, and says what command there is.
    fn begin(&mut self, event: &Event) -> Option<Vec<String>> {
        let trigger = self.hub.triggers().into_iter().find(|trigger| trigger.name == event.trigger)?;
        if let Some(output) = &trigger.gpio {
            self.on.entry(output.clone()).or_default().insert(event.id);
            self.set(output, true);
        }
        if !trigger.command.is_empty() {
            self.begun.insert(event.id, trigger.command.clone());
        }
        Some(trigger.command)
    }

    /// Switches off the outputs that only this event kept on.
    fn release(&mut self, event: EventId) {
        let mut off = Vec::new();
        self.on.retain(|output, events| {
            if events.remove(&event) && events.is_empty() {
                off.push(output.clone());
            }
            !events.is_empty()
        });
        for output in off {
            self.set(&output, false);
        }
    }

    fn set(&mut self, output: &str, on: bool) {
        if let Err(error) = self.outputs.set(output, on) {
            log::warn!("{error}; {}", error.help());
        }
    }

    fn all_off(&mut self) {
        for output in std::mem::take(&mut self.on).into_keys() {
            self.set(&output, false);
        }
    }

    fn command(&mut self, program: &str, arguments: &[String], event: &Event) {
        let trigger = &event.trigger;
        if self.running.len() >= MOST_COMMANDS {
            log::warn!("trigger {trigger}: {program} is not started, since {MOST_COMMANDS} commands still run");
            return;
        }
        let started = Command::new(program)
            .args(arguments)
            .env("LOOKOUT_TRIGGER", &event.trigger)
            .env("LOOKOUT_CAMERA", &event.camera)
            .env("LOOKOUT_PHASE", if event.phase == Phase::Begin { "begin" } else { "end" })
            .env("LOOKOUT_EVENT", event.id.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        match started {
            Ok(mut child) => {
                // An event is far smaller than a pipe holds, so this does not wait for the command to read it.
                if let (Some(mut input), Ok(json)) = (child.stdin.take(), serde_json::to_vec(event)) {
                    let _ = input.write_all(&json);
                }
                self.running.push((trigger.clone(), Instant::now(), child));
            }
            Err(error) => log::warn!("trigger {trigger}: {program} cannot be started: {error}"),
        }
    }

    /// Takes leave of the commands that have ended, and ends those that run too long.
    fn reap(&mut self) {
        self.running.retain_mut(|(trigger, begun, child)| match child.try_wait() {
            Ok(None) if begun.elapsed() < MOST_TIME => true,
            Ok(None) => {
                log::warn!("trigger {trigger}: its command runs for more than {} s and is ended", MOST_TIME.as_secs());
                let _ = child.kill();
                let _ = child.wait();
                false
            }
            Ok(Some(status)) => {
                if !status.success() {
                    log::warn!("trigger {trigger}: its command failed: {status}");
                }
                false
            }
            Err(error) => {
                log::warn!("trigger {trigger}: its command is lost: {error}");
                false
            }
        });
    }
}
