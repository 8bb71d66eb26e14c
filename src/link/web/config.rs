//! What the configuration says about the page.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Code, Error, Result, seconds};

const LEAST_TOKEN: usize = 16;
const MOST_TOKEN: usize = 512;

/// The page and the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebConfig {
    /// Address and port. Beyond loopback (`0.0.0.0:8040`) a token is needed.
    pub listen: String,
    /// A file whose first line is the token, 16 to 512 characters. Where it is given it is needed on loopback as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Names that the device is visited by, besides its IP addresses, `localhost`, its own name, and that with `.local`.
    pub hosts: Vec<String>,
    /// How long a question may wait for its answer.
    #[serde(with = "seconds")]
    pub patience: Duration,
    /// How long a client may take to send a request, or to take up a part of the answer.
    #[serde(with = "seconds")]
    pub timeout: Duration,
    /// Most connections at a time. Further ones wait.
    pub connections: usize,
}

impl WebConfig {
    /// Refuses what makes no sense: an address that is none, a token that is needed and missing or too short to be safe.
    pub fn check(&self) -> Result<()> {
        let address = self.address()?;
        match self.token()? {
            None if !address.ip().is_loopback() => Err(wrong(
                format!("`listen` is {}, which others can reach, but there is no token", self.listen),
                "write a token into a file (openssl rand -hex 16 > token) and name it: token_file = \"...\"; \
                 or listen on 127.0.0.1",
            )),
            _ if self.timeout.is_zero() => Err(wrong("`timeout` is 0", "10s is a sound length")),
            _ if self.patience.is_zero() => Err(wrong("`patience` is 0", "10s is a sound length")),
            _ if !(4..=4_096).contains(&self.connections) => {
                Err(wrong("`connections` is not between 4 and 4096", "64 is enough for a house"))
            }
            _ => self.hosts.iter().try_for_each(|host| check_host(host)),
        }
    }

    pub(super) fn address(&self) -> Result<SocketAddr> {
        let numbers = self.listen.replacen("localhost:", "127.0.0.1:", 1);
        numbers.parse().map_err(|_| {
            wrong(
                format!("`listen` is {:?}, which is no address with a port", self.listen),
                "write: listen = \"127.0.0.1:8040\"",
            )
        })
    }

    /// The token, where one is needed.
    pub(super) fn token(&self) -> Result<Option<String>> {
        self.token_file.as_deref().map(read_token).transpose()
    }
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8040".to_owned(),
            token_file: None,
            hosts: Vec::new(),
            patience: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            connections: 64,
        }
    }
}

fn read_token(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).map_err(|error| {
        wrong(
            format!("the token file {} cannot be read: {error}", path.display()),
            "make one that the daemon may read: openssl rand -hex 16 > FILE",
        )
    })?;
    let token = text.lines().next().unwrap_or_default().trim();
    let sound = (LEAST_TOKEN..=MOST_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
    if sound {
        return Ok(token.to_owned());
    }
    Err(wrong(
        format!("the first line of {} is no token", path.display()),
        "a token is 16 to 512 characters of ASCII without spaces: openssl rand -hex 16 > FILE",
    ))
}

fn check_host(host: &str) -> Result<()> {
    let sound = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if !host.is_empty() && host.chars().all(sound) {
        return Ok(());
    }
    Err(wrong(
        format!("{host:?} in `hosts` is no host name"),
        "write the name alone, without https:// and port: hosts = [\"lookout.example.org\"]",
    ))
}

fn wrong(cause: impl Into<String>, help: &str) -> Error {
    Error::new(Code::Config, format!("web: {}", cause.into()), help)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(toml: &str) -> Result<WebConfig> {
        let config: WebConfig =
            toml::from_str(toml).map_err(|error| Error::new(Code::Config, error.message(), String::new()))?;
        config.check().map(|()| config)
    }

    #[test]
    fn nothing_said_is_loopback_without_a_token() {
        assert_eq!(read("").unwrap().address().unwrap(), ([127, 0, 0, 1], 8040).into());
        assert!(read("listen = \"[::1]:80\"").is_ok() && read("listen = \"localhost:0\"").is_ok());
    }

    #[test]
    fn beyond_loopback_a_token_is_needed_and_must_be_long() {
        assert!(read("listen = \"0.0.0.0:8040\"").unwrap_err().help().contains("token_file"));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let with_token = format!("listen = \"0.0.0.0:8040\"\ntoken_file = {:?}", file.path());
        writeln!(file, "short").unwrap();
        assert!(read(&with_token).unwrap_err().message().contains("is no token"));
        fs::write(file.path(), "0123456789abcdef\nthe rest is not read\n").unwrap();
        assert_eq!(read(&with_token).unwrap().token().unwrap().as_deref(), Some("0123456789abcdef"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_cause() {
        for (toml, cause) in [
            ("listen = \"8040\"", "no address with a port"),
            ("token_file = \"/no/such/file\"", "/no/such/file cannot be read"),
            ("hosts = [\"https://door.example\"]", "no host name"),
            ("timeout = \"0s\"", "`timeout`"),
            ("patience = \"0s\"", "`patience`"),
            ("connections = 0", "`connections`"),
            ("prot = 80", "unknown field"),
        ] {
            let error = read(toml).unwrap_err();
            assert!(error.message().contains(cause), "{toml}: {error}");
        }
    }
}
