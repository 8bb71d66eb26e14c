//! Why a connection failed, in words, and how patient to be about it.

use rumqttc::TlsError;
use rumqttc::v5::mqttbytes::Error as Packet;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError};
use rustls::CertificateError;

use super::config::Address;
use crate::{Code, Error};

/// A connection that failed.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub error: Error,
    /// Whether it lasts until somebody does something about it: trying often is of no use.
    pub lasting: bool,
    /// Whether the broker answered a message with a code that cannot be read, so that nobody knows which message it was.
    pub garbled: bool,
    /// Whether the other side closed the connection and did not say why.
    pub wordless: bool,
    /// Whether the broker said that another client has this one's id.
    pub taken_over: bool,
}

impl Trouble {
    fn new(message: String, help: &str) -> Self {
        let error = Error::new(Code::Link, message, help);
        Self { error, lasting: false, garbled: false, wordless: false, taken_over: false }
    }

    pub fn lasting(error: Error) -> Self {
        Self { error, lasting: true, garbled: false, wordless: false, taken_over: false }
    }

    fn closed(broker: &str) -> Self {
        Self { wordless: true, ..Self::new(format!("{broker} closed the connection"), "the broker's log says why") }
    }

    /// One line for the log and the status.
    pub fn line(&self) -> String {
        format!("{} ({})", self.error.message(), self.error.help())
    }

    /// The other side has said nothing for too long.
    pub fn silent(address: &Address) -> Self {
        Self::new(
            format!("{} no longer answers", broker(address)),
            "the line was cut or the broker hangs; lookout connects again by itself",
        )
    }

    pub fn explain(error: &ConnectionError, address: &Address) -> Self {
        let broker = broker(address);
        match error {
            ConnectionError::Io(error) | ConnectionError::Tls(TlsError::Io(error)) => io(error, &broker),
            ConnectionError::Timeout(_) => Self::new(
                format!("{broker} did not answer in time"),
                "is it a broker that listens there, and does nothing between swallow the connection?",
            ),
            ConnectionError::ConnectionRefused(code) => refused(*code, &broker),
            ConnectionError::NotConnAck(_) => Self::new(
                format!("{broker} does not speak MQTT 5"),
                "lookout needs MQTT 5: mosquitto 1.6 or newer has it",
            ),
            ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
                disconnected(*reason_code, &broker)
            }
            ConnectionError::MqttState(StateError::AwaitPingResp) => Self::silent(address),
            ConnectionError::MqttState(StateError::Io(error)) => io(error, &broker),
            ConnectionError::MqttState(StateError::Deserialization(Packet::Io(error))) => io(error, &broker),
            ConnectionError::MqttState(StateError::Deserialization(
                error @ (Packet::InvalidConnectReturnCode(_) | Packet::InvalidReason(_)),
            )) => Self {
                garbled: true,
                ..Self::new(format!("{broker} answered with an unknown code: {error}"), "see the broker's log")
            },
            ConnectionError::MqttState(StateError::ConnectionAborted) => Self::closed(&broker),
            other => Self::new(format!("the connection to {broker} broke: {other}"), "the broker's log may say why"),
        }
    }
}

fn broker(address: &Address) -> String {
    let scheme = if address.tls { "mqtts" } else { "mqtt" };
    format!("the broker {scheme}://{}:{}", address.host, address.port)
}

fn io(error: &std::io::Error, broker: &str) -> Trouble {
    use std::io::ErrorKind;
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls_refused(tls, broker);
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            Trouble::new(format!("{broker} refuses connections"), "is it running, and is the port right?")
        }
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::UnexpectedEof
        | ErrorKind::BrokenPipe => Trouble::closed(broker),
        _ => Trouble::new(format!("{broker} cannot be reached: {error}"), "are the name and the network right?"),
    }
}

fn tls_refused(error: &rustls::Error, broker: &str) -> Trouble {
    use rustls::Error as Tls;
    let (cause, help) = match error {
        Tls::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => (
            "shows a certificate that has expired".to_owned(),
            "renew the broker's certificate; is this device's clock right?",
        ),
        Tls::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            ("shows a certificate that is not valid yet".to_owned(), "is this device's clock right?")
        }
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => (
            "shows a certificate of an unknown authority".to_owned(),
            "name the PEM file of the authority that signed it in `ca`",
        ),
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => ("shows a certificate for another name".to_owned(), "write the name that the certificate holds in `url`"),
        Tls::InvalidCertificate(other) => {
            (format!("shows a certificate that does not do: {other}"), "look at the broker's certificate")
        }
        Tls::AlertReceived(alert) => (
            format!("refuses this client's certificate, or wants one: {alert:?}"),
            "set `cert` and `key` to what the broker's authority signed",
        ),
        Tls::InvalidMessage(_) => {
            ("does not speak TLS on this port".to_owned(), "most brokers speak TLS on port 8883; or write mqtt://")
        }
        other => (format!("failed the TLS handshake: {other}"), "the broker's log may say why"),
    };
    Trouble::lasting(Error::new(Code::Link, format!("{broker} {cause}"), help))
}

fn refused(code: ConnectReturnCode, broker: &str) -> Trouble {
    use ConnectReturnCode as C;
    let (cause, help) = match code {
        C::BadUserNamePassword | C::NotAuthorized | C::Banned | C::BadAuthenticationMethod => (
            "refuses the user name, the password or the client".to_owned(),
            "check `username` and the file in `password_file` against the broker's; where its access list goes by names \
             or certificates, `device` must be the name there",
        ),
        C::RefusedProtocolVersion | C::UnsupportedProtocolVersion => {
            ("does not speak MQTT 5".to_owned(), "lookout needs MQTT 5: mosquitto 1.6 or newer has it")
        }
        C::ServerBusy | C::ServerUnavailable | C::ServiceUnavailable | C::ConnectionRateExceeded | C::QuotaExceeded => {
            return Trouble::new(format!("{broker} is too busy: {code:?}"), "lookout tries again by itself");
        }
        other => (format!("refuses the connection: {other:?}"), "the broker's log says why"),
    };
    Trouble::lasting(Error::new(Code::Link, format!("{broker} {cause}"), help))
}

fn disconnected(code: DisconnectReasonCode, broker: &str) -> Trouble {
    match code {
        DisconnectReasonCode::SessionTakenOver => Trouble {
            taken_over: true,
            ..Trouble::lasting(Error::new(
                Code::Link,
                format!("another client took this device's place at {broker}"),
                "two devices have the same name: give each its own",
            ))
        },
        DisconnectReasonCode::ServerShuttingDown => {
            Trouble::new(format!("{broker} is shutting down"), "lookout connects again when it is back")
        }
        other => Trouble::new(format!("{broker} ended the connection: {other:?}"), "the broker's log says why"),
    }
}
