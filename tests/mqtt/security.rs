//! Passwords, TLS, and brokers that do not behave: a clear word each, and lookout goes on.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::peers::certificates::{Authority, Identity};
use crate::peers::*;
use lookout::link::Link;
use lookout::link::mqtt::MqttConfig;

fn lookout(config: &MqttConfig) -> Box<dyn Link> {
    start(config, &desk(&[]), &Arc::new(MemoryOutbox::default()))
}

fn with_password(broker: &Broker, password: &str) -> MqttConfig {
    let file = broker.folder.path().join("lookout-password");
    fs::write(&file, format!("{password}\n")).unwrap();
    MqttConfig { username: Some("lookout".to_owned()), password_file: Some(file), ..config(broker.port) }
}

fn broker_with_password(password: &str) -> Broker {
    Broker::with(|folder, port| {
        let file = folder.join("passwords");
        let tool = broker::tool("mosquitto_passwd");
        let made = Command::new(tool).arg("-c").arg("-b").arg(&file).args(["lookout", password]).status().unwrap();
        assert!(made.success());
        format!("listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\n", file.display())
    })
}

#[test]
fn the_right_password_opens_and_a_wrong_one_is_said_until_it_is_changed() {
    let broker = broker_with_password("correct horse");
    let right = lookout(&with_password(&broker, "correct horse"));
    until_up(&*right);
    stop(right);

    let link = lookout(&with_password(&broker, "wrong"));
    let note = until_trouble(&*link, "refuses the user name");
    assert!(note.contains("password_file") && !note.contains("wrong"), "{note}");
    // It is read anew for each attempt.
    with_password(&broker, "correct horse");
    until_up(&*link);
    stop(link);

    let anonymous = lookout(&config(broker.port));
    until_trouble(&*anonymous, "refuses the user name");
    stop(anonymous);
}

/// A broker that speaks TLS with `server`, and wants a certificate of `clients` where one is named.
fn broker_with_tls(server: &Identity, clients: Option<&Path>) -> Broker {
    Broker::with(|_, port| {
        let mut text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\ncertfile {}\nkeyfile {}\n",
            server.cert.display(),
            server.key.display()
        );
        if let Some(authority) = clients {
            text += &format!("cafile {}\nrequire_certificate true\n", authority.display());
        }
        text
    })
}

fn over_tls(broker: &Broker, ca: &Path) -> MqttConfig {
    MqttConfig { url: format!("mqtts://localhost:{}", broker.port), ca: Some(ca.to_owned()), ..config(broker.port) }
}

#[test]
fn tls_with_the_authority_named_works_and_every_fault_has_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ours");
    let other = Authority::new(folder.path(), "other");
    let broker = broker_with_tls(&authority.sign(folder.path(), "localhost", false), None);

    let link = lookout(&over_tls(&broker, &authority.file));
    until_up(&*link);
    stop(link);

    let link = lookout(&over_tls(&broker, &other.file));
    let note = until_trouble(&*link, "unknown authority");
    assert!(note.contains("`ca`"), "{note}");
    stop(link);

    let by_address =
        MqttConfig { url: format!("mqtts://127.0.0.1:{}", broker.port), ..over_tls(&broker, &authority.file) };
    let link = lookout(&by_address);
    until_trouble(&*link, "for another name");
    stop(link);

    let plain = lookout(&config(broker.port));
    until_trouble(&*plain, "closed the connection");
    stop(plain);

    let expired = broker_with_tls(&authority.sign(folder.path(), "localhost", true), None);
    let link = lookout(&over_tls(&expired, &authority.file));
    until_trouble(&*link, "has expired");
    stop(link);

    let without = Broker::open();
    let link = lookout(&over_tls(&without, &authority.file));
    until_trouble(&*link, "broker mqtts://localhost");
    stop(link);
}

#[test]
fn a_client_certificate_opens_where_the_broker_wants_one() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ours");
    let broker = broker_with_tls(&authority.sign(folder.path(), "localhost", false), Some(&authority.file));
    let mine = authority.sign(folder.path(), "porch", false);
    let with = MqttConfig { cert: Some(mine.cert), key: Some(mine.key), ..over_tls(&broker, &authority.file) };
    let link = lookout(&with);
    until_up(&*link);
    stop(link);

    let link = lookout(&over_tls(&broker, &authority.file));
    until_trouble(&*link, "certificate");
    stop(link);
}

#[test]
fn files_that_are_missing_or_no_certificates_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ours");
    let mine = authority.sign(folder.path(), "porch", false);
    let text = folder.path().join("text");
    fs::write(&text, "no certificate").unwrap();
    let base = MqttConfig { url: "mqtts://localhost:8883".to_owned(), ..MqttConfig::default() };
    for (config, cause) in [
        (MqttConfig { ca: Some("/nonexistent/ca.pem".into()), ..base.clone() }, "/nonexistent/ca.pem"),
        (MqttConfig { ca: Some(text.clone()), ..base.clone() }, "holds no certificate"),
        (
            MqttConfig {
                cert: Some(mine.cert.clone()),
                key: Some(text),
                ca: Some(authority.file.clone()),
                ..base.clone()
            },
            "not sound PEM",
        ),
        (
            MqttConfig {
                cert: Some(mine.cert),
                key: Some(authority.sign(folder.path(), "else", false).key),
                ca: Some(authority.file.clone()),
                ..base
            },
            "do not do",
        ),
    ] {
        let error = config.check().unwrap_err();
        assert!(error.message().contains(cause), "{error}");
    }
}

#[test]
fn a_broker_that_takes_the_connection_and_says_nothing_is_given_up() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let link = lookout(&MqttConfig { connect_timeout: Duration::from_secs(1), ..config(port) });
    until_trouble(&*link, "did not answer in time");
    stop(link);
}

#[test]
fn a_broker_that_is_not_there_is_waited_for() {
    let mut broker = Broker::open();
    broker.kill();
    let link = lookout(&config(broker.port));
    until_trouble(&*link, "refuses connections");
    broker.start();
    until_up(&*link);
    stop(link);
}

#[test]
fn something_else_that_listens_there_is_no_broker() {
    let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::Write;
        for mut stream in other.incoming().flatten().take(3) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let link = lookout(&config(port));
    until_trouble(&*link, &format!("mqtt://127.0.0.1:{port}"));
    stop(link);
}

#[test]
fn a_packet_that_claims_to_be_huge_is_not_waited_for() {
    use std::io::{Read, Write};
    let broker = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = broker.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in broker.incoming().flatten().take(3) {
            let _ = stream.read(&mut [0; 1024]);
            // Accepted; and then a message of 200 MB.
            let _ = stream.write_all(&[0x20, 3, 0, 0, 0]);
            let _ = stream.write_all(&[0x30, 0x80, 0x80, 0x80, 0x60]);
            let _ = stream.read(&mut [0; 1024]);
            std::thread::sleep(PATIENCE);
        }
    });
    let link = lookout(&config(port));
    until_trouble(&*link, "broke");
    stop(link);
}
