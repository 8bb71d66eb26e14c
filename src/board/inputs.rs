//! GPIO inputs: a motion sensor, a key switch, a button.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use gpiocdev::Request;
use gpiocdev_embedded_hal::InputPin;

use crate::said::Said;
use crate::{Code, Error, Result};

use super::config::{BoardConfig, Deed};
use super::debounce::Debounced;
use super::outputs::hold;
use super::polarity::Polarity;

/// How often inputs are read.
const EVERY: Duration = Duration::from_millis(10);

/// What is done about an input: which deed, and whether it went on.
type Act = Box<dyn Fn(Deed, bool) + Send>;

/// The inputs of a configuration, read by a thread of their own.
pub struct Inputs {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Inputs {
    /// Takes hold of the lines and calls `act` for every change. `None` where the configuration has no inputs.
    pub fn open(config: &BoardConfig, act: Act) -> Result<Option<Self>> {
        let mut pins = Vec::new();
        for (name, input) in &config.inputs {
            let mut request = Request::builder();
            request.as_input();
            let request = hold(name, &input.pin(), request)?;
            let pin = InputPin::try_from(request).map_err(|error| {
                Error::new(Code::Config, format!("GPIO {name}: {error}"), "`gpioinfo` lists the lines")
            })?;
            pins.push((name.clone(), input.deed, Debounced::new(Polarity::new(pin, input.active_low))));
        }
        if pins.is_empty() {
            return Ok(None);
        }
        let (end, ending) = bounded(0);
        let thread = std::thread::Builder::new().name("inputs".to_owned()).spawn(move || read(pins, &act, &ending));
        let thread = thread.map_err(|error| {
            Error::new(Code::Engine, format!("no thread can be started: {error}"), "raise the limit on tasks")
        })?;
        Ok(Some(Self { end: Some(end), thread: Some(thread) }))
    }
}

impl Drop for Inputs {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(mut pins: Vec<(String, Deed, Debounced<Polarity<InputPin>>)>, act: &Act, ending: &Receiver<()>) {
    let mut said = Said::default();
    while matches!(ending.recv_timeout(EVERY), Err(RecvTimeoutError::Timeout)) {
        for (name, deed, pin) in &mut pins {
            match pin.poll(Instant::now()) {
                Ok(Some(on)) => {
                    log::debug!("input {name} is {}", if on { "on" } else { "off" });
                    act(*deed, on);
                }
                Ok(None) => {}
                Err(cause) => said.trouble(&format!("GPIO input {name} cannot be read: {cause}")),
            }
        }
    }
}
