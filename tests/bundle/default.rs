//! The bundle in the repository is whole: its manifest is sound, every hash holds, and every role is there.

use std::path::Path;

use lookout::bundle::{Bundle, Role};

#[test]
fn the_default_bundle_is_whole() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
    let bundle = Bundle::open(&path).expect("it opens");
    bundle.verify().expect("every hash holds");
    for role in Role::ALL {
        assert!(bundle.bytes(role).is_some(), "{role} is there");
    }
    let pairs = bundle.pairs().expect("its check file is sound").expect("it has a check file");
    assert!(!pairs.image.is_empty() && !pairs.text.is_empty());
}

/// KiB of a mapped file that this process has in memory.
#[cfg(target_os = "linux")]
fn resident(file: &Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("the system tells");
    let name = file.to_str().expect("a plain name");
    let mut lines = maps.lines();
    let mut sum = 0;
    while let Some(line) = lines.next() {
        if line.ends_with(name) {
            let rss = lines.find_map(|line| line.strip_prefix("Rss:")).expect("every map has one");
            sum += rss.trim_end_matches("kB").trim().parse::<u64>().expect("a number");
        }
    }
    sum
}

#[test]
#[cfg(target_os = "linux")]
fn what_was_read_gives_its_memory_back_and_reads_the_same_again() {
    let room = tempfile::tempdir().expect("a folder");
    let room = room.path().canonicalize().expect("it is there");
    let (folder, archive) = (room.join("bundle"), room.join("bundle.tar"));
    std::fs::create_dir(&folder).expect("a folder");
    let mut tar = tar::Builder::new(std::fs::File::create(&archive).expect("a file"));
    for entry in Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default").read_dir().expect("the bundle is there") {
        let entry = entry.expect("it can be listed");
        std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("room for it");
    }
    tar.append_dir_all(".", &folder).expect("room for it");
    tar.finish().expect("room for it");
    for (bundle, mapped) in [(&folder, folder.join("text.onnx")), (&archive, archive.clone())] {
        let bundle = Bundle::open(bundle).expect("it opens");
        let before = bundle.bytes(Role::Text).expect("it has a text tower").to_vec();
        let size = before.len() as u64 / 1024;
        assert!(resident(&mapped) >= size * 9 / 10, "{} KiB of {size} are in memory", resident(&mapped));
        bundle.release(Role::Text);
        assert!(resident(&mapped) <= size / 10, "{} KiB of {size} are left in memory", resident(&mapped));
        assert!(bundle.bytes(Role::Text) == Some(&before[..]));
    }
}
