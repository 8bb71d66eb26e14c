//! A system is confirmed by the answer of a real daemon, and by nothing else.

use crate::common::{Disk, choose};
use crate::daemon::{self, Daemon, demo_picture, wait_for};
use lookout::update::{Ask, Slot};
use std::time::Duration;

#[test]
fn a_daemon_that_answers_confirms_the_system_that_is_tried() {
    let daemon = Daemon::start("");
    let confirm = |disk: &Disk, within: &str| {
        let (card, config) = (disk.path("card.toml"), daemon.path("lookout.toml"));
        let all = ["update", "confirm", "--within", within, "--card", card.to_str().unwrap(), "--config"];
        daemon::lookout(&[&all[..], &[config.to_str().unwrap()]].concat())
    };
    let tried = |ask: Ask| {
        let disk = Disk::new();
        let change = |record: &mut lookout::update::Record| {
            record.versions[1] = Some("0.2.0".to_owned());
            (record.trying, record.ask) = (Some((Slot::B, 2)), ask);
        };
        disk.records().write(change).unwrap();
        assert_eq!(choose(&disk).0, "b");
        disk.runs("b");
        disk
    };

    // There is no picture yet: what asks for one is not answered, what needs none is.
    let (picture, words) = (tried(Ask::Picture), tried(Ask::Words));
    let refused = confirm(&picture, "1s");
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(String::from_utf8(refused.stderr).unwrap().contains("did not answer in 1 s"));
    assert_eq!(picture.records().now().good, Slot::A);
    let told = confirm(&words, "60s");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert_eq!((words.records().now().good, words.records().now().trying), (Slot::B, None));
    assert!(words.path("confirmed").exists(), "the first program is told");

    daemon.show(&demo_picture(), "demo.jpg");
    wait_for("a picture", Duration::from_secs(60), || (daemon.looks() > 0).then_some(()));
    assert!(confirm(&picture, "60s").status.success());
    assert_eq!(choose(&picture), ("b".into(), "good".into()));
}
