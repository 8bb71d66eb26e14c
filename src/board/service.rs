//! What systemd is told. Without systemd nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// Everything runs.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read anew; [`ready`] follows.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Shows `status` in `systemctl status`, and feeds the watchdog if `progress`.
pub fn alive(progress: bool, status: &str) {
    let status = NotifyState::Status(status);
    if progress { tell(&[NotifyState::Watchdog, status]) } else { tell(&[status]) }
}

/// How often the watchdog wants to be fed at least.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("systemd cannot be told: {error}");
    }
}
