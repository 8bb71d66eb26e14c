//! An update of the bundle is whole or did not happen: whatever fails, and whenever it is killed, the one in use stays.
//!
//! The process that is killed is this test program itself, run again as `child`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::cli::{self, changed_bundle, default_bundle, folder, lookout, replace};
use lookout::bundle::{Bundle, Slots};
use tempfile::TempDir;

/// A copy of the default bundle under another version.
fn version(version: &str) -> TempDir {
    changed_bundle(|_, manifest| {
        manifest.insert("version".into(), version.into());
    })
}

fn install(bundle: &Path, into: &Path, more: &[&str]) -> cli::Run {
    let mut all = vec!["bundle", "install", bundle.to_str().unwrap(), "--into", into.to_str().unwrap()];
    all.extend(more);
    lookout(all)
}

fn version_in_use(into: &Path) -> String {
    let bundle = Bundle::open(&into.join("current")).expect("there is always one");
    bundle.verify().expect("and it is whole");
    bundle.manifest().version().to_owned()
}

#[test]
fn a_newer_one_takes_its_place_an_older_one_is_refused_and_back_returns() {
    let into = folder();
    install(version("5.1").path(), into.path(), &[]).good();
    let newer = version("5.10");
    let reply = install(newer.path(), into.path(), &["--json"]).good().json();
    assert_eq!(reply["changed"], true);
    assert!(reply["before"].as_str().unwrap().contains("@5.1+"), "{reply}");
    assert_eq!(version_in_use(into.path()), "5.10");
    assert_eq!(install(newer.path(), into.path(), &["--json"]).good().json()["changed"], false);

    let older = version("5.9");
    install(older.path(), into.path(), &[]).bad(1, &["5.9 is older than 5.10", "--allow-older"]);
    assert_eq!(version_in_use(into.path()), "5.10");
    let back = |more: &[&str]| {
        let all = [&["bundle", "back", "--into", into.path().to_str().unwrap()], more].concat();
        lookout(all)
    };
    back(&[]).good();
    assert_eq!(version_in_use(into.path()), "5.1");
    back(&[]).good();
    assert_eq!(version_in_use(into.path()), "5.10");
    install(older.path(), into.path(), &["--allow-older"]).good();
    assert_eq!(version_in_use(into.path()), "5.9");
    // Signed or not is a matter of both ways.
    let keys = folder();
    let name = keys.path().join("vendor");
    lookout(["bundle", "keygen", name.to_str().unwrap(), "--no-password"]).good();
    let key = keys.path().join("vendor.pub");
    back(&["--trusted-key", key.to_str().unwrap()]).bad(1, &["is not signed"]);
    install(newer.path(), into.path(), &["--trusted-key", key.to_str().unwrap()]).bad(1, &["is not signed"]);
    assert_eq!(version_in_use(into.path()), "5.9");
}

#[test]
fn one_that_fails_its_self_test_is_named_and_removed() {
    let into = folder();
    install(&default_bundle(), into.path(), &[]).good();
    let before = version_in_use(into.path());
    let wrong = changed_bundle(|folder, manifest| {
        manifest.insert("version".into(), "99.9".into());
        let text = fs::read_to_string(folder.join("check.json")).unwrap();
        let mut pairs: serde_json::Value = serde_json::from_str(&text).unwrap();
        for value in pairs["text"][0]["embedding"].as_array_mut().unwrap() {
            *value = (-value.as_f64().unwrap()).into();
        }
        let bytes = serde_json::to_vec(&pairs).unwrap();
        let entry = manifest["check"].clone();
        manifest["files"].as_table_mut().unwrap().insert("check_".into(), entry);
        replace(folder, manifest, "check_", &bytes);
        let entry = manifest["files"].as_table_mut().unwrap().remove("check_").unwrap();
        manifest.insert("check".into(), entry);
    });
    install(wrong.path(), into.path(), &[]).bad(1, &["@99.9", "fails its self-test", "text tower"]);
    // A network that does not load, though its hash is right.
    let broken = changed_bundle(|folder, manifest| replace(folder, manifest, "decoder", b"no network"));
    install(broken.path(), into.path(), &["--allow-older"]).bad(1, &["fails its self-test"]);
    assert_eq!(version_in_use(into.path()), before);
    assert!(!into.path().join("incoming").exists(), "nothing is left behind");
}

#[test]
fn a_second_update_at_the_same_time_and_a_place_that_cannot_be_written_are_refused() {
    let into = folder();
    let first = Slots::open(into.path()).unwrap();
    install(&default_bundle(), into.path(), &[]).bad(1, &["another update is under way", "wait"]);
    drop(first);
    install(&default_bundle(), Path::new("/proc/nowhere"), &[]).bad(1, &["/proc/nowhere"]);
    install(Path::new("/nowhere"), into.path(), &[]).bad(1, &["/nowhere"]);
}

/// Memory as the disk, with room for less than two bundles.
#[test]
fn a_full_disk_is_named_and_leaves_the_bundle_in_use() {
    let into = folder();
    let room = Command::new("mount").args(["-t", "tmpfs", "-o", "size=40m", "tmpfs"]).arg(into.path()).output();
    if !room.is_ok_and(|mounted| mounted.status.success()) {
        eprintln!("only root can make a small disk; this was not tested");
        return;
    }
    let _unmount = Unmount(into.path().to_owned());
    install(&default_bundle(), into.path(), &[]).good();
    let before = version_in_use(into.path());
    install(version("99").path(), into.path(), &[]).bad(1, &["No space left", "free some space"]);
    assert_eq!(version_in_use(into.path()), before);
    assert!(!into.path().join("incoming").exists(), "the space is free again");
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Names the folder that a child works in.
const JOB: &str = "LOOKOUT_TEST_INSTALL";

/// Installs one bundle and the other, for as long as it lives.
#[test]
fn child() {
    let Some(home) = std::env::var_os(JOB).map(PathBuf::from) else { return };
    loop {
        for name in ["one", "two"] {
            let slots = Slots::open(&home.join("bundles")).unwrap();
            slots.install(&home.join(name), None, true, |_| Ok(())).unwrap();
        }
    }
}

#[test]
fn a_kill_at_any_moment_leaves_a_whole_bundle() {
    let home = folder();
    for name in ["one", "two"] {
        let path = home.path().join(name);
        fs::create_dir_all(path.join("parts")).unwrap();
        let weights = name.repeat(100_000);
        fs::write(path.join("parts/image.onnx"), &weights).unwrap();
        let text = format!(
            "format = 1\nname = \"small\"\nversion = \"{name}\"\nlicence = \"MIT\"\n[picture]\nwidth = 8\nheight = 8\n\
             rule = \"stretch\"\nfilter = \"bicubic\"\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n[embedding]\nwidth = 2\n\
             [files.image]\npath = \"parts/image.onnx\"\nsha256 = \"{}\"\nbytes = {}\n",
            lookout::bundle::Digest::of(weights.as_bytes()),
            weights.len()
        );
        fs::write(path.join("lookout.toml"), text).unwrap();
    }
    let bundles = home.path().join("bundles");
    Slots::open(&bundles).unwrap().install(&home.path().join("one"), None, true, |_| Ok(())).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..60_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "install::child", "--test-threads=1"])
            .env(JOB, home.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(3_000 + round * 977 % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        seen.insert(version_in_use(&bundles));
    }
    // The next update clears up what was left.
    let slots = Slots::open(&bundles).unwrap();
    for name in ["one", "two"] {
        slots.install(&home.path().join(name), None, true, |_| Ok(())).unwrap();
        assert_eq!(version_in_use(&bundles), name);
    }
    assert_eq!(seen.len(), 2, "the kills fell between updates, and in them: {seen:?}");
    drop(slots);
    let left = fs::read_dir(&bundles).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let mut left: Vec<_> = left.collect();
    left.sort();
    assert_eq!(left, ["a", "b", "current", "lock", "previous"]);
}
