//! All of it on one board.

use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal::i2c::I2c;
use embedded_io::{Read, ReadReady, Write};
use lookout_client::Client;

use crate::{Cause, Debounced, Lamp, Millis, Note, Oled, Panel, Settings, View};

/// A board: a UART, a motion sensor, a button, a lamp and a display.
pub struct Node<U, M, B, L, I> {
    client: Client<U>,
    motion: Debounced<M>,
    button: Debounced<B>,
    lamp: L,
    oled: Oled<I>,
    panel: Panel,
    received: u32,
    view: Option<View>,
}

impl<U, M, B, R, G, Blue, I> Node<U, M, B, Lamp<R, G, Blue>, I>
where
    U: Read + ReadReady + Write,
    M: InputPin,
    B: InputPin,
    R: OutputPin,
    G: OutputPin,
    Blue: OutputPin,
    I: I2c,
{
    /// A board that has just started. `by_watchdog` is whether that was because it was stuck.
    pub fn new(
        uart: U,
        motion: Debounced<M>,
        button: Debounced<B>,
        lamp: Lamp<R, G, Blue>,
        bus: I,
        settings: Settings,
        by_watchdog: bool,
    ) -> Self {
        let client = Client::new(uart);
        let panel = Panel::new(settings, by_watchdog);
        Self { client, motion, button, lamp, oled: Oled::new(bus), panel, received: 0, view: None }
    }

    /// Numbers questions from here on: see [`Client::number_from`].
    pub fn number_from(&mut self, id: u32) {
        self.client.number_from(id);
    }

    /// Does whatever is to be done. To be called every few milliseconds; returns after at most 60 ms.
    pub fn poll(&mut self, now: Millis, mut note: impl FnMut(Note)) {
        let inputs = [(Cause::Motion, self.motion.went_on(now)), (Cause::Button, self.button.went_on(now))];
        for (cause, _) in inputs.into_iter().filter(|(_, on)| *on) {
            let id = self.client.next_id();
            self.panel.want(cause, id, now).map(&mut note);
        }
        // At most a frame or two at a time: a line full of noise must not keep all else waiting.
        for _ in 0..4 {
            let Some(heard) = self.client.poll() else { break };
            self.count(now);
            self.panel.hear(heard, now).map(&mut note);
        }
        self.count(now);
        while let Some(message) = self.panel.next(now) {
            // Nothing can be done about a UART that does not write; the question is asked again.
            let _ = self.client.tell(&message);
        }
        let view = self.panel.view(now);
        let is_new = self.view.as_ref() != Some(&view);
        if is_new {
            self.lamp.show(view.colour);
        }
        self.oled.show(&view, is_new, now);
        if is_new {
            self.view = Some(view);
        }
    }

    fn count(&mut self, now: Millis) {
        let received = self.client.received();
        self.panel.received(received.wrapping_sub(self.received), now);
        self.received = received;
    }
}
