//! `lookout flash image` and `lookout flash settings`: what makes no sense is refused at once, before minutes of work.

use std::fs;

use crate::cli::{folder, lookout, program, run};

#[test]
fn an_unknown_board_is_refused_with_the_list_of_those_that_there_are() {
    for board in ["jetson", "", "raspberry"] {
        lookout(["flash", "image", "--board", board]).bad(2, &["there is no board", "qemu-virt, raspberry-pi"]);
    }
}

#[test]
fn tools_that_are_missing_are_named_with_the_line_that_installs_them() {
    let mut command = program(["flash", "image", "--board", "qemu-virt", "--deb", "Cargo.toml"]);
    command.env("PATH", "/nowhere");
    run(command, b"").bad(1, &["mmdebstrap", "mksquashfs", "apt-get install mmdebstrap squashfs-tools"]);
}

#[test]
fn what_is_no_package_for_the_board_is_refused() {
    let image =
        |deb: &str| lookout(["flash", "image", "--board", "qemu-virt", "--deb", deb, "--out", "/nowhere/x.img"]);
    // Where the tools are missing that is told first, and the test above has shown it.
    for (deb, words) in [("/nowhere.deb", "is not there"), ("Cargo.toml", "is no Debian package")] {
        let refused = image(deb);
        if !refused.err.contains("cannot be made here without") {
            refused.bad(1, &[deb, words, "make deb ARCH=arm64"]);
        }
    }
}

#[test]
fn settings_are_read_before_anything_is_made_and_in_words_by_themselves() {
    let home = folder();
    let path = home.path().join("settings.toml");
    let shown = path.to_str().unwrap();
    fs::write(&path, "hostname = \"porch\"\nwifi = 5\n").unwrap();
    lookout(["flash", "image", "--board", "qemu-virt", "--settings", shown]).bad(1, &[shown, "line 2"]);
    lookout(["flash", "settings", shown]).bad(1, &[shown, "line 2"]);
    fs::write(&path, "hostname = \"porch\"\n[mqtt]\nurl = \"mqtt://broker\"\n").unwrap();
    let told = lookout(["flash", "settings", shown]).good();
    assert_eq!(told.out, "hostname porch\nMQTT     mqtt://broker\n");
    lookout(["flash", "settings", "boards/image/settings.toml"]).good();
}

#[test]
fn a_board_starts_with_its_own_configuration_where_the_users_makes_no_sense() {
    let home = folder();
    let (boot, root) = (home.path().join("boot"), home.path().join("root"));
    let config = root.join("etc/lookout/lookout.toml");
    for folder in [&boot, &root.join("etc/lookout")] {
        fs::create_dir_all(folder).unwrap();
    }
    let own = "[[camera]]\nname = \"c\"\nsource = \"folder:/srv\"\n";
    let apply = || {
        fs::write(&config, own).unwrap();
        lookout(["flash", "settings", boot.join("settings.toml").to_str().unwrap(), "--apply", root.to_str().unwrap()])
    };
    fs::write(boot.join("settings.toml"), "hostname = \"porch\"\n").unwrap();
    apply().good();
    assert!(fs::read_to_string(&config).unwrap().contains("device = \"porch\""));
    assert_eq!(fs::read_to_string(root.join("etc/hostname")).unwrap(), "porch\n");

    fs::write(boot.join("lookout.toml"), own.replace("/srv", "/mine")).unwrap();
    apply().good();
    assert!(fs::read_to_string(&config).unwrap().contains("/mine"));

    fs::write(boot.join("lookout.toml"), "[[camra]]\n").unwrap();
    apply().bad(1, &["lookout.toml", "camra"]);
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("/srv") && text.contains("device = \"porch\""), "{text}");

    // A misspelt setting does not take the configuration along.
    fs::write(boot.join("lookout.toml"), own.replace("/srv", "/mine")).unwrap();
    fs::write(boot.join("settings.toml"), "hostname = \"Porch of mine\"\n").unwrap();
    apply().bad(1, &["no hostname"]);
    assert!(fs::read_to_string(&config).unwrap().contains("/mine"));
}
