//! The plain file on a card's boot partition: the board's name, its Wi-Fi, who may log in, and the broker.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use serde::Deserialize;

use crate::complaint::explain;
use crate::{Code, Error, Result};

/// Most bytes of the file.
const MOST_BYTES: usize = 64 << 10;

/// The user that the daemon runs as.
const DAEMON: &str = "lookout";

/// What `settings.toml` says. Nothing of it must be said.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    hostname: Option<String>,
    wifi: Option<Wifi>,
    ssh: Ssh,
    mqtt: Option<toml::Table>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wifi {
    country: String,
    network: String,
    password: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Ssh {
    keys: Vec<String>,
}

impl Settings {
    /// The file's name on the boot partition.
    pub const NAME: &str = "settings.toml";

    /// What a new card gets: everything explained, nothing said.
    pub const EXAMPLE: &str = include_str!("../../boards/image/settings.toml");

    /// Parses the file's text. Errors ([`Code::Config`]) name the file, the line and what is wrong.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        if text.len() > MOST_BYTES {
            let message = format!("{name} has {} bytes; is it the right file?", text.len());
            return Err(Error::new(Code::Config, message, "an example is boards/image/settings.toml"));
        }
        // As some editors begin and end lines.
        let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
        let settings: Self = toml::from_str(&text).map_err(|error| {
            let complaint = explain(&text, &error);
            let help =
                complaint.help.unwrap_or_else(|| "correct that line, then try: lookout flash settings".to_owned());
            Error::new(Code::Config, format!("{name}{}: {}", complaint.place, complaint.cause), help)
        })?;
        settings.check().map_err(|(message, help)| Error::new(Code::Config, format!("{name}: {message}"), help))?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), (String, &'static str)> {
        if let Some(name) = &self.hostname {
            let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            let edges = !name.starts_with('-') && !name.ends_with('-');
            if name.is_empty() || name.len() > 63 || !edges || !name.chars().all(sound) {
                return Err((format!("{name:?} is no hostname"), "use 1 to 63 of a-z, 0-9 and -"));
            }
        }
        if let Some(Wifi { country, network, password }) = &self.wifi {
            if country.len() != 2 || !country.chars().all(|c| c.is_ascii_uppercase()) {
                return Err((format!("{country:?} is no country"), "use its two letters, like \"DE\""));
            }
            if network.is_empty() || network.len() > 32 {
                return Err((format!("{network:?} is no Wi-Fi network"), "its name has 1 to 32 bytes"));
            }
            let typeable = |password: &String| password.chars().all(|c| (' '..='~').contains(&c));
            if password.as_ref().is_some_and(|password| !(8..=63).contains(&password.len()) || !typeable(password)) {
                let help = "it has 8 to 63 characters of ASCII; leave the line out for a network without one";
                return Err(("that is no Wi-Fi password".to_owned(), help));
            }
        }
        for key in &self.ssh.keys {
            let begins = ["ssh-", "ecdsa-", "sk-"].iter().any(|kind| key.starts_with(kind));
            if !begins || key.split(' ').count() < 2 || key.contains(['\n', '\r']) {
                let shown: String = key.chars().take(30).collect();
                return Err((format!("{shown:?} is no public key of SSH"), "copy the one line of your id_ed25519.pub"));
            }
        }
        let password = self.mqtt.as_ref().and_then(|mqtt| mqtt.get("password"));
        match password {
            Some(value) if !value.is_str() => {
                Err(("the password of [mqtt] is no text".to_owned(), "write it in quotes"))
            }
            _ => Ok(()),
        }
    }

    /// In words, a line each.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.hostname.as_ref().map(|name| format!("hostname {name}")));
        lines.extend(self.wifi.as_ref().map(|wifi| format!("Wi-Fi    {} ({})", wifi.network, wifi.country)));
        lines.extend((!self.ssh.keys.is_empty()).then(|| format!("SSH      root, with {} keys", self.ssh.keys.len())));
        let url =
            self.mqtt.as_ref().map(|mqtt| mqtt.get("url").and_then(|url| url.as_str()).unwrap_or("the default broker"));
        lines.extend(url.map(|url| format!("MQTT     {url}")));
        lines
    }

    /// The daemon's configuration `base`, with what is said here in place of what is said there.
    pub fn config(&self, base: &str) -> Result<String> {
        if self.hostname.is_none() && self.mqtt.is_none() {
            return Ok(base.to_owned());
        }
        let mut table: toml::Table = base.parse().map_err(|error: toml::de::Error| {
            Error::new(Code::Config, format!("lookout.toml: {}", error.message()), "lookout run --check says more")
        })?;
        if let Some(name) = &self.hostname {
            table.insert("device".to_owned(), name.clone().into());
        }
        if let Some(mut mqtt) = self.mqtt.clone() {
            if mqtt.remove("password").is_some() {
                mqtt.insert("password_file".to_owned(), "mqtt-password".into());
            }
            table.insert("mqtt".to_owned(), mqtt.into());
        }
        Ok(table.to_string())
    }

    /// Writes all but the daemon's configuration into the system whose root is `root`. Errors name the file.
    pub fn apply(&self, root: &Path) -> Result<()> {
        let put =
            |path: &str, mode: u32, text: &str| write(root, path, mode, text).map(|_| ()).map_err(unwritable(path));
        if let Some(name) = &self.hostname {
            put("etc/hostname", 0o644, &format!("{name}\n"))?;
            put("etc/hosts", 0o644, &format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n"))?;
        }
        if let Some(wifi) = &self.wifi {
            put("etc/wpa_supplicant/wpa_supplicant-wlan0.conf", 0o600, &wifi.supplicant())?;
        }
        if !self.ssh.keys.is_empty() {
            put("root/.ssh/authorized_keys", 0o600, &(self.ssh.keys.join("\n") + "\n"))?;
            fs::set_permissions(root.join("root/.ssh"), Permissions::from_mode(0o700))
                .map_err(unwritable("root/.ssh"))?;
        }
        let password = self.mqtt.as_ref().and_then(|mqtt| mqtt.get("password")).and_then(|password| password.as_str());
        if let Some(password) = password {
            let path = "etc/lookout/mqtt-password";
            let written = write(root, path, 0o640, &format!("{password}\n"));
            written.and_then(|()| chown(root.join(path), None, group(root, DAEMON))).map_err(unwritable(path))?;
        }
        Ok(())
    }
}

impl Wifi {
    /// For wpa_supplicant. The name is written in hexadecimal digits, in which nothing needs a quote.
    fn supplicant(&self) -> String {
        let name: String = self.network.bytes().map(|byte| format!("{byte:02x}")).collect();
        let secret = match &self.password {
            // A password in quotes goes to the line's last quote.
            Some(password) => format!("psk=\"{password}\""),
            None => "key_mgmt=NONE".to_owned(),
        };
        format!("country={}\nnetwork={{\n\tssid={name}\n\tscan_ssid=1\n\t{secret}\n}}\n", self.country)
    }
}

fn write(root: &Path, path: &str, mode: u32, text: &str) -> io::Result<()> {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap_or(root))?;
    // Not readable for others at any moment.
    let _ = fs::remove_file(&path);
    let mut options = fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode & 0o600);
    io::Write::write_all(&mut options.write(true).create_new(true).open(&path)?, text.as_bytes())?;
    fs::set_permissions(&path, Permissions::from_mode(mode))
}

/// The number of a group of the system at `root`.
fn group(root: &Path, name: &str) -> Option<u32> {
    let groups = fs::read_to_string(root.join("etc/group")).ok()?;
    let line = groups.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

fn unwritable(path: &str) -> impl Fn(io::Error) -> Error {
    move |error| Error::new(Code::Output, format!("/{path} cannot be written: {error}"), "run it as root")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = r#"
hostname = "porch"
[wifi]
country = "DE"
network = "my \"home\""
password = "it's \"secret\""
[ssh]
keys = ["ssh-ed25519 AAAA me"]
[mqtt]
url = "mqtt://broker"
password = "pass word"
"#;

    #[test]
    fn the_example_says_nothing_and_with_its_marks_removed_it_is_sound() {
        assert_eq!(Settings::parse(Settings::EXAMPLE, "example").unwrap(), Settings::default());
        let said: String = Settings::EXAMPLE
            .lines()
            .filter_map(|line| line.strip_prefix("# > "))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(Settings::parse(&said, "example").unwrap().describe().len(), 4, "{said}");
    }

    #[test]
    fn what_is_said_reaches_the_system_and_secrets_stay_secret() {
        let root = tempfile::tempdir().unwrap();
        let settings = Settings::parse(&ALL.replace('\n', "\r\n"), "settings.toml").unwrap();
        for _ in 0..2 {
            settings.apply(root.path()).unwrap();
        }
        let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
        let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(read("etc/hostname"), "porch\n");
        let wifi = read("etc/wpa_supplicant/wpa_supplicant-wlan0.conf");
        assert!(wifi.contains("psk=\"it's \"secret\"\"\n") && wifi.contains("ssid=6d792022686f6d6522"), "{wifi}");
        assert_eq!(mode("etc/wpa_supplicant/wpa_supplicant-wlan0.conf"), 0o600);
        assert_eq!(read("root/.ssh/authorized_keys"), "ssh-ed25519 AAAA me\n");
        assert_eq!((mode("root/.ssh"), mode("root/.ssh/authorized_keys")), (0o700, 0o600));
        assert_eq!(
            (read("etc/lookout/mqtt-password"), mode("etc/lookout/mqtt-password")),
            ("pass word\n".into(), 0o640)
        );
        let config = settings.config("device = \"virt\"\nthreads = 1\n[mqtt]\nurl = \"mqtt://old\"\n").unwrap();
        assert!(config.contains("device = \"porch\"") && config.contains("threads = 1"), "{config}");
        assert!(
            config.contains("mqtt://broker") && !config.contains("old") && !config.contains("pass word"),
            "{config}"
        );
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_line() {
        for (text, words) in [
            ("hostname = \"Porch!\"", "no hostname"),
            ("hostnme = \"porch\"", "line 1"),
            ("\n[wifi]\ncountry = \"Germany\"\nnetwork = \"x\"", "no country"),
            ("[wifi]\ncountry = \"DE\"\nnetwork = \"x\"\npassword = \"short\"", "Wi-Fi password"),
            ("[wifi]\ncountry = \"DE\"\nnetwork = \"x\"\npassword = \"12345678\\n}\"", "Wi-Fi password"),
            ("[ssh]\nkeys = [\"-----BEGIN OPENSSH PRIVATE KEY-----\"]", "no public key"),
            ("[ssh]\nkeys = [\"ssh-ed25519 A\\nssh-rsa B\"]", "no public key"),
            ("[mqtt]\npassword = 5", "no text"),
        ] {
            let error = Settings::parse(text, "settings.toml").unwrap_err();
            assert!(error.message().starts_with("settings.toml") && error.message().contains(words), "{error}");
            assert!(!error.help().is_empty() && !error.message().contains("short"));
        }
    }
}
