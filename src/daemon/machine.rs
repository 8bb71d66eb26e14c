//! The name of a device that was given none.

use std::fs;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::watch::MAX_NAME;

/// Tells lookout's hash of a machine's id from those of other programs, as systemd's `machine-id` man page wants it.
const APPLICATION: u128 = 0x690a_5499_898e_46a0_933c_0fbc_fd36_78ea;

/// Digits of the hash: with ten thousand machines of one name, two are the same once in five million fleets.
const DIGITS: usize = 12;

/// The machine's name and a hash of its id, `raspberrypi-0f7bd69a7296`: cards that were written from one image have one
/// name, and get an id of their own at the first start. The name alone where there is no id.
pub(super) fn device_name() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id"].into_iter().find_map(|path| parse(&read(path)));
    name(&read("/proc/sys/kernel/hostname"), id)
}

fn name(host: &str, id: Option<u128>) -> String {
    let sound = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let mut name: String = host.trim().chars().map(sound).take(MAX_NAME - 1 - DIGITS).collect();
    if name.is_empty() {
        name += "lookout";
    }
    if let Some(id) = id {
        let hash = format!("{:032x}", hash(id));
        name = format!("{name}-{}", &hash[..DIGITS]);
    }
    name
}

/// The id in a file `machine-id`; none in that of an image, which says `uninitialized` or nothing.
fn parse(text: &str) -> Option<u128> {
    let digits = text.trim();
    (digits.len() == 32).then(|| u128::from_str_radix(digits, 16).ok()).flatten().filter(|id| *id != 0)
}

/// What `systemd-id128 machine-id --app-specific` prints: the id itself is not for telling others.
fn hash(id: u128) -> u128 {
    let mut mac = Hmac::<Sha256>::new_from_slice(&id.to_be_bytes()).expect("HMAC takes keys of any length");
    mac.update(&APPLICATION.to_be_bytes());
    let whole = mac.finalize().into_bytes();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&whole[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::check_name;

    #[test]
    fn two_cards_of_one_image_have_two_names() {
        let (one, other) = (parse("0123456789abcdef0123456789abcdef\n"), parse("0123456789abcdef0123456789abcdee\n"));
        assert_eq!(name("raspberrypi\n", one), "raspberrypi-0f7bd69a7296");
        assert_ne!(name("raspberrypi\n", other), name("raspberrypi\n", one));
    }

    #[test]
    fn whatever_the_machine_is_called_the_name_does_for_topics() {
        let id = parse("0123456789abcdef0123456789abcdef");
        for host in ["", "board.local", "häuschen", "a/b+c#", &"long".repeat(100)] {
            check_name("device", &name(host, id)).unwrap();
            check_name("device", &name(host, None)).unwrap();
        }
        assert_eq!(name("board.local\n", None), "board-local");
    }

    #[test]
    fn an_image_that_was_never_started_has_no_id() {
        for text in
            ["", "uninitialized\n", "00000000000000000000000000000000", "0123", "0123456789abcdefg123456789abcdef"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    /// The same as systemd says, where it is there.
    #[test]
    fn the_hash_is_systemds() {
        let application = format!("--app-specific={APPLICATION:032x}");
        let Ok(said) = std::process::Command::new("systemd-id128").args(["machine-id", &application]).output() else {
            return;
        };
        let mine = fs::read_to_string("/etc/machine-id").ok().and_then(|text| parse(&text));
        if let (Some(mine), true) = (mine, said.status.success()) {
            assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), format!("{:032x}", hash(mine)));
        }
    }
}
