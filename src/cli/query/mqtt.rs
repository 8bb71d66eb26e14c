//! Through a broker.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::Value;

use crate::link::mqtt::{MqttConfig, query};
use crate::watch::Request;
use crate::{Code, Error, Result};

use super::super::args::text;
use super::super::console::Outcome;
use super::{Way, only_serial};

#[derive(Args)]
pub(super) struct MqttArgs {
    /// Name of the lookout at the broker
    #[arg(long, value_name = "NAME", value_parser = text(), requires = "mqtt")]
    device: Option<String>,
    /// User at the broker
    #[arg(long, value_name = "NAME", value_parser = text(), requires = "mqtt")]
    username: Option<String>,
    /// File whose first line is the user's password
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// PEM file of the authorities that may have signed the broker's certificate [default: the system's]
    #[arg(long, value_name = "FILE", requires = "mqtt")]
    ca: Option<PathBuf>,
    /// PEM file of our own certificate
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Begin of the lookout's topics
    #[arg(long, value_name = "TOPIC", default_value = "lookout", value_parser = text())]
    prefix: String,
}

pub(super) struct Mqtt {
    config: MqttConfig,
    device: String,
    timeout: Duration,
}

impl Mqtt {
    pub fn new(url: &str, args: &MqttArgs, timeout: Duration) -> Result<Self> {
        let device = args.device.clone().ok_or_else(|| {
            Error::new(
                Code::Usage,
                "--mqtt alone does not say which lookout",
                "add: --device NAME, its name in its config",
            )
        })?;
        let config = MqttConfig {
            url: url.to_owned(),
            username: args.username.clone(),
            password_file: args.password_file.clone(),
            ca: args.ca.clone(),
            cert: args.cert.clone(),
            key: args.key.clone(),
            prefix: args.prefix.clone(),
            ..MqttConfig::default()
        };
        Ok(Self { config, device, timeout })
    }
}

impl Way for Mqtt {
    fn ask(&mut self, request: &Request) -> Result<Value> {
        query(&self.config, &self.device, request, self.timeout)
    }

    fn snapshot(&mut self, request: &Request) -> Result<(Value, Vec<u8>)> {
        let mut reply = self.ask(request)?;
        let jpeg = reply.as_object_mut().and_then(|fields| fields.remove("jpeg"));
        let jpeg =
            jpeg.as_ref().and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok()).ok_or_else(|| {
                Error::new(
                    Code::Link,
                    format!("{} sent no picture", self.device),
                    "does it have this version of lookout?",
                )
            })?;
        Ok((reply, jpeg))
    }

    fn watch(&mut self, _: &mut dyn FnMut(&Value) -> Outcome) -> Outcome {
        Err(only_serial("watch").into())
    }
}
