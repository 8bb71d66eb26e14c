//! Two devices with one name: the broker lets in whoever came last and throws out the other, again and again.

use std::time::Duration;

use super::trouble::Trouble;
use crate::{Code, Error};

/// Connections in a row that must have ended so.
const ENOUGH: u32 = 3;
/// Who was thrown out is back within a minute (`backoff`): connections that held longer than this ended for other reasons.
const SOON: Duration = Duration::from_secs(150);

/// Some brokers say that another client took over. Where one says nothing, as mosquitto 2.0.11, the pattern tells: each
/// connection is accepted, and closed soon after. A broker that is away refuses some in between.
#[derive(Debug, Default)]
pub(super) struct Rivals {
    in_a_row: u32,
}

impl Rivals {
    /// What to say of a connection's end. `held`: since it was accepted; `None` where it was not.
    pub fn judge(&mut self, trouble: Trouble, held: Option<Duration>, client_id: &str) -> Trouble {
        let suspect = trouble.wordless && held.is_some_and(|held| held < SOON);
        self.in_a_row = if suspect { self.in_a_row + 1 } else { 0 };
        if trouble.taken_over {
            return Trouble { error: explain(trouble.error.message(), client_id), ..trouble };
        }
        if self.in_a_row < ENOUGH {
            return trouble;
        }
        // No count: the log says the same thing once.
        let message = format!("{} again and again, each time after it had accepted it", trouble.error.message());
        Trouble { error: explain(&message, client_id), lasting: true, ..trouble }
    }
}

fn explain(message: &str, client_id: &str) -> Error {
    let help = format!(
        "do two devices have one name? Both are then the client {client_id:?} to the broker: give each its own `device`; \
         the broker's log says who came from where, or what else it has against this one"
    );
    Error::new(Code::Link, message, help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::mqtt::config::Address;

    fn closed() -> Trouble {
        let error = rumqttc::v5::ConnectionError::MqttState(rumqttc::v5::StateError::ConnectionAborted);
        Trouble::explain(&error, &Address { host: "broker".to_owned(), port: 1883, tls: false })
    }

    fn suspects(held: &[Option<u64>]) -> bool {
        let mut rivals = Rivals::default();
        let judged = held.iter().map(|held| rivals.judge(closed(), held.map(Duration::from_secs), "lookout:porch"));
        judged.last().is_some_and(|trouble| trouble.error.help().contains("`device`"))
    }

    #[test]
    fn connections_that_end_soon_without_a_word_make_suspicious_only_in_a_row() {
        assert!(suspects(&[Some(1), Some(40), Some(3)]));
        assert!(!suspects(&[Some(1), Some(40)]));
        assert!(!suspects(&[Some(1), Some(1), None, Some(1)]), "a broker that restarts");
        assert!(!suspects(&[Some(1), Some(1), Some(1), Some(3_600)]), "a line that is cut every hour");
    }
}
