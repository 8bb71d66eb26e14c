//! The configuration of the link, and what of it makes no sense.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::seconds;
use crate::{Code, Error, Result};

/// Where the broker is and what the link tells it. In a configuration file this is the table `[mqtt]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MqttConfig {
    /// `mqtt://host:1883`, or `mqtts://host:8883` with TLS. Without a port these are the ports.
    pub url: String,
    /// Name of the user, where the broker wants one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File whose first line is the password. It is read anew for each connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Name of the systemd credential (`LoadCredential=`) that is the password, in place of `password_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_credential: Option<String>,
    /// PEM file of the authorities that may have signed the broker's certificate; the system's where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file of this client's certificate and those between it and its authority. Goes with `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Begin of all topics.
    pub prefix: String,
    /// Whether Home Assistant is told about the device.
    pub home_assistant: bool,
    /// Begin of Home Assistant's own topics.
    pub home_assistant_prefix: String,
    /// Whether the picture of the last event is published.
    pub snapshots: bool,
    /// Whether the message with which an event begins carries the embedding of its picture, for search by words elsewhere.
    pub embeddings: bool,
    /// How old a message about an event may be when it is sent. Older ones are dropped; none is where nothing is said.
    #[serde(with = "maybe_seconds", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// How long the line may be silent before either side asks whether the other is there, 5 s to 18 h. A dead line is
    /// noticed after one and a half of it.
    #[serde(with = "seconds")]
    pub keep_alive: Duration,
    /// How long one attempt to connect may take, 1 s to 5 min.
    #[serde(with = "seconds")]
    pub connect_timeout: Duration,
    /// How long a question may wait for its answer.
    #[serde(with = "seconds")]
    pub patience: Duration,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            url: "mqtt://localhost:1883".to_owned(),
            username: None,
            password_file: None,
            password_credential: None,
            ca: None,
            cert: None,
            key: None,
            prefix: "lookout".to_owned(),
            home_assistant: true,
            home_assistant_prefix: "homeassistant".to_owned(),
            snapshots: true,
            embeddings: false,
            ttl: None,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            patience: Duration::from_secs(30),
        }
    }
}

impl MqttConfig {
    /// Refuses what makes no sense, and files that cannot be read. Does not talk to the broker.
    pub fn check(&self) -> Result<()> {
        let address = Address::parse(&self.url)?;
        for (key, prefix) in [("prefix", &self.prefix), ("home_assistant_prefix", &self.home_assistant_prefix)] {
            check_prefix(key, prefix)?;
        }
        if self.password_file.is_some() && self.password_credential.is_some() {
            return Err(refuse("both `password_file` and `password_credential` are set", "leave one of them out"));
        }
        if self.username.is_none() && (self.password_file.is_some() || self.password_credential.is_some()) {
            return Err(refuse("there is a password but no `username`", "add: username = \"...\""));
        }
        self.password()?;
        if !address.tls {
            for (key, file) in [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)] {
                if file.is_some() {
                    return Err(refuse(
                        format!("`{key}` is set, but the address begins with mqtt:// and is not encrypted"),
                        "write mqtts:// in `url`, with the broker's TLS port (most often 8883)",
                    ));
                }
            }
        }
        if self.cert.is_some() != self.key.is_some() {
            return Err(refuse("`cert` and `key` go together", "set both, or neither"));
        }
        if address.tls {
            super::tls::config(self)?;
        }
        let within = |key: &str, value: Duration, least: u64, most: u64| {
            if (Duration::from_secs(least)..=Duration::from_secs(most)).contains(&value) {
                return Ok(());
            }
            Err(refuse(format!("`{key}` is not between {least} s and {most} s"), "leave it out for a sound value"))
        };
        within("keep_alive", self.keep_alive, 5, 65_535)?;
        within("connect_timeout", self.connect_timeout, 1, 300)?;
        within("patience", self.patience, 1, 600)?;
        if let Some(ttl) = self.ttl {
            within("ttl", ttl, 1, 4_000_000_000)?;
        }
        Ok(())
    }

    /// The password, read now; `None` where none is set.
    pub(super) fn password(&self) -> Result<Option<String>> {
        let file = match (&self.password_file, &self.password_credential) {
            (Some(file), _) => file.clone(),
            (None, Some(name)) => credential(name)?,
            (None, None) => return Ok(None),
        };
        let text = fs::read_to_string(&file).map_err(|error| unreadable("the broker's password", &file, &error))?;
        Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
    }
}

/// A broker's address, taken from its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl Address {
    pub fn parse(url: &str) -> Result<Self> {
        const LIKE: &str = "write: url = \"mqtt://host:1883\" or \"mqtts://host:8883\"";
        // What is before an @ may be a password: it is never repeated.
        let shown = url.rsplit('@').next().unwrap_or_default();
        let wrong = |cause: &str, help: &str| Err(refuse(format!("`url` {shown:?} {cause}"), help));
        let (tls, rest) = if let Some(rest) = url.strip_prefix("mqtt://") {
            (false, rest)
        } else if let Some(rest) = url.strip_prefix("mqtts://") {
            (true, rest)
        } else {
            return wrong("does not begin with mqtt:// or mqtts://", LIKE);
        };
        if rest.contains('@') {
            return wrong(
                "holds a user or a password, which would end up in logs",
                "write the user in `username`, and the password in a file named by `password_file`",
            );
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let port_at = rest.rfind(':').filter(|at| rest.rfind(']').is_none_or(|end| *at > end));
        let (host, port) = match port_at {
            Some(at) => match rest[at + 1..].parse::<u16>() {
                Ok(port) if port > 0 => (&rest[..at], port),
                _ => return wrong("has no sound port", LIKE),
            },
            None => (rest, if tls { 8883 } else { 1883 }),
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        if host.is_empty() || (!bracketed && host.contains(odd)) {
            return wrong("has no sound host name", LIKE);
        }
        if bracketed && tls {
            return wrong("names an IPv6 address, which certificates seldom hold", "write the broker's name");
        }
        Ok(Self { host: host.to_owned(), port, tls })
    }
}

/// Refuses a begin of topics that would not do: empty levels, wildcards, and what brokers keep for themselves.
fn check_prefix(key: &str, prefix: &str) -> Result<()> {
    let shown: String = prefix.chars().take(60).collect();
    let wrong = |cause: &str| Err(refuse(format!("`{key}` {shown:?} {cause}"), "write words with / between them"));
    if prefix.contains(['+', '#']) {
        return wrong("has a wildcard (+ or #), and no message can be published there");
    }
    if prefix.starts_with('$') {
        return wrong("begins with $, which brokers keep for themselves");
    }
    if prefix.len() > 200 || prefix.split('/').any(str::is_empty) || prefix.contains(char::is_control) {
        return wrong("has an empty level, a control character, or over 200 bytes");
    }
    Ok(())
}

fn credential(name: &str) -> Result<PathBuf> {
    let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
        return Err(refuse(
            format!("there is no credential {name:?}: systemd did not start this"),
            "add LoadCredential= to the unit, or name a file in `password_file`",
        ));
    };
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(refuse(
            format!("{name:?} cannot be the name of a credential"),
            "write the name in LoadCredential=",
        ));
    }
    Ok(Path::new(&folder).join(name))
}

pub(super) fn refuse(cause: impl Into<String>, help: &str) -> Error {
    Error::new(Code::Config, format!("mqtt: {}", cause.into()), help)
}

/// A file of the configuration that cannot be read.
pub(super) fn unreadable(what: &str, file: &Path, error: &std::io::Error) -> Error {
    refuse(format!("{what} cannot be read from {}: {error}", file.display()), "is it there, and may this user read it?")
}

/// As `crate::seconds`, for what may be left out.
mod maybe_seconds {
    use super::{Duration, seconds};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => seconds::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        #[serde(transparent)]
        struct Written(#[serde(with = "seconds")] Duration);
        Option::<Written>::deserialize(deserializer).map(|written| written.map(|Written(duration)| duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<MqttConfig> {
        let config: MqttConfig =
            toml::from_str(text).map_err(|error| Error::new(Code::Config, error.message().to_owned(), ""))?;
        config.check().map(|()| config)
    }

    #[test]
    fn an_address_is_enough_and_the_rest_has_sound_values() {
        let config = read("url = \"mqtt://broker.local\"\nttl = \"2h\"").unwrap();
        assert_eq!(config.ttl, Some(Duration::from_secs(7200)));
        assert_eq!(
            Address::parse(&config.url).unwrap(),
            Address { host: "broker.local".to_owned(), port: 1883, tls: false }
        );
        assert_eq!(Address::parse("mqtts://10.0.0.2").unwrap().port, 8883);
        assert_eq!(Address::parse("mqtt://[::1]:1884").unwrap().host, "[::1]");
        assert_eq!(read(&toml::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_cause() {
        for (text, cause) in [
            ("url = \"http://x\"", "does not begin with"),
            ("url = \"mqtt://\"", "host name"),
            ("url = \"mqtt://x:0\"", "port"),
            ("url = \"mqtt://x:99999\"", "port"),
            ("url = \"mqtt://x/y\"", "host name"),
            ("url = \"mqtts://[::1]\"", "IPv6"),
            ("prefix = \"a/#\"", "wildcard"),
            ("prefix = \"a+b\"", "wildcard"),
            ("prefix = \"\"", "empty level"),
            ("prefix = \"a//b\"", "empty level"),
            ("prefix = \"$SYS\"", "begins with $"),
            ("home_assistant_prefix = \"+\"", "wildcard"),
            ("keep_alive = \"1s\"", "keep_alive"),
            ("keep_alive = \"soon\"", "soon"),
            ("ttl = \"0s\"", "ttl"),
            ("prefx = \"a\"", "unknown field"),
            ("ca = \"ca.pem\"", "not encrypted"),
            ("url = \"mqtts://x\"\ncert = \"c.pem\"", "go together"),
            ("password_file = \"p\"", "no `username`"),
            ("username = \"a\"\npassword_file = \"/nonexistent/p\"", "cannot be read"),
            ("username = \"a\"\npassword_file = \"p\"\npassword_credential = \"q\"", "both"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message().contains(cause), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_in_the_address_is_refused_and_never_repeated() {
        let error = read("url = \"mqtt://me:s3cret@broker\"").unwrap_err();
        assert!(!error.message().contains("s3cret") && !error.help().contains("s3cret"), "{error}");
    }

    #[test]
    fn the_password_is_the_first_line_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        fs::write(&file, "correct horse\n").unwrap();
        let config = MqttConfig { username: Some("me".to_owned()), password_file: Some(file), ..MqttConfig::default() };
        config.check().unwrap();
        assert_eq!(config.password().unwrap().as_deref(), Some("correct horse"));
    }
}
