//! The bundle of a running daemon is replaced between two frames: no question fails, nothing of the old one is compared
//! with anything of the new one, and one that does not work is named and does not take over.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::cli::{self, changed_bundle, default_bundle, lookout, replace};
use crate::daemon::{Daemon, demo_picture, wait_for};

const LONG: Duration = Duration::from_secs(120);

/// A daemon whose bundle is the link of a folder of bundles.
fn daemon(signed: &str) -> Daemon {
    let daemon = Daemon::start("");
    assert!(install(&daemon, &default_bundle(), &[]).code == 0);
    daemon.write_top(&format!("bundle = \"bundles/current\"\n{signed}"));
    daemon
}

fn install(daemon: &Daemon, bundle: &Path, more: &[&str]) -> cli::Run {
    let into = daemon.path("bundles");
    let mut all = vec!["bundle", "install", bundle.to_str().unwrap(), "--into", into.to_str().unwrap()];
    all.extend(more);
    lookout(all)
}

fn in_use(daemon: &Daemon) -> String {
    daemon.status()["bundle"].as_str().unwrap().to_owned()
}

/// The same networks under another version: another identity, which is what must not be mixed.
fn version(version: &str) -> tempfile::TempDir {
    changed_bundle(|_, manifest| {
        manifest.insert("version".into(), version.into());
    })
}

#[test]
fn no_question_fails_while_the_bundle_is_replaced_and_events_stay_with_their_own() {
    let daemon = daemon("");
    daemon.hang_up();
    daemon.show(&demo_picture(), "one.jpg");
    let event = wait_for("an event", LONG, || daemon.events().into_iter().next());
    let before = in_use(&daemon);
    let found = daemon.ask(r#"{"task":"find","words":"a dog"}"#);
    assert_eq!(found["events"][0]["id"], event["id"]);

    let (over, answers) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let new = version("99.1");
    std::thread::scope(|scope| {
        for question in [
            r#"{"task":"label","labels":["a dog","a teapot"]}"#,
            r#"{"task":"caption"}"#,
            r#"{"task":"find","words":"a dog"}"#,
            r#"{"task":"check","sentence":"a dog outside"}"#,
        ] {
            let (daemon, over, answers) = (&daemon, &over, &answers);
            scope.spawn(move || {
                while !over.load(Relaxed) {
                    // Panics where the answer is anything but success.
                    let reply = daemon.ask(question);
                    assert!(reply["error"].is_null(), "{question}: {reply}");
                    answers.lock().unwrap().push((question, reply));
                }
            });
        }
        assert_eq!(install(&daemon, new.path(), &[]).code, 0);
        wait_for("the new bundle", LONG, || in_use(&daemon).contains("@99.1+").then_some(()));
        let count = answers.lock().unwrap().len();
        wait_for("answers of the new bundle", LONG, || (answers.lock().unwrap().len() > count + 8).then_some(()));
        over.store(true, Relaxed);
    });
    let after = in_use(&daemon);
    let answers = answers.into_inner().unwrap();
    for bundle in [&before, &after] {
        assert!(answers.iter().any(|(_, reply)| reply["bundle"] == **bundle), "{bundle} answered");
    }
    // The old event is found by the old bundle's words alone.
    let found = daemon.ask(r#"{"task":"find","words":"a dog"}"#);
    let ids: Vec<_> = found["events"].as_array().unwrap().iter().map(|found| found["id"].clone()).collect();
    assert!(!ids.contains(&event["id"]), "{found}");
    for (_, reply) in answers.iter().filter(|(question, _)| question.contains("find")) {
        for found in reply["events"].as_array().unwrap() {
            assert_eq!(found["bundle"], reply["bundle"], "events of one bundle for words of the same one");
        }
    }
    // And the triggers were embedded anew: they go on scoring.
    wait_for("a score by the new bundle", LONG, || {
        daemon.status()["triggers"][0]["scores"].as_array().filter(|scores| !scores.is_empty()).map(|_| ())
    });
}

#[test]
fn a_bundle_that_does_not_work_is_named_and_does_not_take_over() {
    let mut daemon = daemon("");
    daemon.hang_up();
    let good = in_use(&daemon);
    // Past the installer, as somebody might who copies files by hand.
    let broken = changed_bundle(|folder, manifest| {
        manifest.insert("version".into(), "66.6".into());
        replace(folder, manifest, "decoder", b"no network");
    });
    let link = |to: &Path| {
        let beside = daemon.path("bundles/by-hand");
        std::os::unix::fs::symlink(to, &beside).unwrap();
        std::fs::rename(&beside, daemon.path("bundles/current")).unwrap();
    };
    link(broken.path());
    wait_for("the complaint", LONG, || daemon.log().contains("@66.6").then_some(()));
    assert!(daemon.log().contains("fails its self-test"), "{}", daemon.log());
    assert_eq!(in_use(&daemon), good);
    let reply = daemon.ask(r#"{"task":"status"}"#);
    assert_eq!(reply["bundle"], *good);

    // A signature that is asked for from now on.
    let keys = daemon.path("keys");
    std::fs::create_dir(&keys).unwrap();
    let key = keys.join("vendor");
    lookout(["bundle", "keygen", key.to_str().unwrap(), "--no-password"]).good();
    daemon.write_top("bundle = \"bundles/current\"\nrequire_signature = true\n");
    link(&default_bundle());
    daemon.hang_up();
    wait_for("the refusal", LONG, || daemon.log().contains("is not signed").then_some(()));
    assert_eq!(in_use(&daemon), good);
    let signed = version("77.7");
    lookout(["bundle", "sign", signed.path().to_str().unwrap(), "--key", keys.join("vendor.key").to_str().unwrap()])
        .good();
    link(signed.path());
    wait_for("the signed one", LONG, || in_use(&daemon).contains("@77.7+").then_some(()));

    // At the next start the one in use does not open: the one before takes its place.
    let config = daemon.path("lookout.toml");
    let install = install(&daemon, signed.path(), &["--config", config.to_str().unwrap()]);
    assert_eq!(install.code, 0, "{}", install.err);
    let newer = version("88.8");
    lookout(["bundle", "sign", newer.path().to_str().unwrap(), "--key", keys.join("vendor.key").to_str().unwrap()])
        .good();
    let next = daemon.path("bundles");
    let all = ["bundle", "install", newer.path().to_str().unwrap(), "--into", next.to_str().unwrap()];
    lookout(all.iter().chain(&["--config", config.to_str().unwrap()])).good();
    wait_for("the newer one", LONG, || in_use(&daemon).contains("@88.8+").then_some(()));
    assert!(daemon.terminate().success());
    std::fs::remove_file(daemon.path("bundles/current/image.onnx")).unwrap();
    daemon.restart();
    assert!(in_use(&daemon).contains("@77.7+"), "{}", in_use(&daemon));
    assert!(daemon.log().contains("the one before is tried"), "{}", daemon.log());
}
