//! A full disk, a damaged file, too many events: the memory says so and goes on.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::*;
use crate::vfs;
use bytesize::ByteSize;
use lookout::Code;
use lookout::memory::{EventFilter, EventReader, EventStore, MemoryConfig, Outbox};
use lookout::watch::{EventId, Phase};

fn fill_disk(folder: &Path) {
    vfs::plan().full.push(folder.to_owned());
}

fn free_disk(folder: &Path) {
    vfs::plan().full.retain(|full| full != folder);
}

fn waiting(store: &EventStore) -> Vec<u64> {
    store.waiting(0, 10_000, 0).unwrap().iter().map(|waiting| waiting.event.id.0).collect()
}

#[test]
fn what_happens_while_the_disk_is_full_is_told_at_once_and_stored_later() {
    vfs::install();
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.record(&begin(1)).unwrap();
    fill_disk(folder.path());
    for id in 2..=20 {
        let error = store.record(&begin(id)).unwrap_err();
        assert_eq!(error.code(), Code::Memory);
        assert!(error.message().contains("full"), "{error}");
    }
    let repeated = store.record(&begin(20)).unwrap_err();
    assert!(repeated.message().contains("19 of at most"), "a repeated report is not kept twice: {repeated}");
    let status = store.status();
    assert!(!status.writable && status.note.as_ref().is_some_and(|note| note.contains("full")), "{status:?}");
    assert_eq!(waiting(&store), (1..=20).collect::<Vec<_>>(), "the broker can have them");
    let embedding = |id| Outbox::embedding(&store, EventId(id)).unwrap();
    assert_eq!(embedding(1), Some(Noise(1).direction(WIDTH)), "from the disk");
    assert_eq!(embedding(20), Some(Noise(20).direction(WIDTH)), "from memory");
    assert_eq!(embedding(21), None);
    assert_eq!(status.outbox, 20);
    assert_eq!(store.last_id(), EventId(20));
    // Some on the disk, some in memory.
    let places: Vec<i64> = store.waiting(0, 3, 0).unwrap().iter().map(|w| w.place).collect();
    store.acknowledged(&places).unwrap();
    assert_eq!(waiting(&store), (4..=20).collect::<Vec<_>>());
    assert_eq!(store.len().unwrap(), 17);

    free_disk(folder.path());
    wait_for("the disk is written again", || store.status().writable);
    wait_for("all is stored", || store.status().events == 20);
    assert_eq!(waiting(&store), (4..=20).collect::<Vec<_>>(), "in their order, and without those that were told");
    store.close().unwrap();
    drop(store);
    let store = open(folder.path());
    assert_eq!((store.status().events, store.len().unwrap()), (20, 17));
    for id in 1..=20 {
        assert_eq!(store.snapshot(EventId(id)).unwrap().unwrap()[..], jpeg(id, 3_000)[..]);
    }
}

#[test]
fn a_lookout_that_starts_on_a_full_disk_watches_and_stores_later() {
    vfs::install();
    let folder = tempfile::tempdir().unwrap();
    fill_disk(folder.path());
    let store = open(folder.path());
    assert!(!store.status().writable);
    assert_eq!(store.record(&begin(1)).unwrap_err().code(), Code::Memory);
    assert_eq!(waiting(&store), [1]);
    free_disk(folder.path());
    wait_for("all is stored", || store.status().events == 1);
    store.record(&begin(2)).unwrap();
    assert_eq!(waiting(&store), [1, 2]);
}

#[test]
fn memory_is_bounded_while_the_disk_is_full_and_snapshots_go_first() {
    vfs::install();
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill_disk(folder.path());
    let now = now_ms();
    for id in 1..=40u64 {
        let mut report = report(id, 0, Phase::Begin, now);
        report.jpeg = Some(jpeg(id, 2 << 20));
        store.record(&report).unwrap_err();
    }
    for id in 41..=1_100 {
        store.record(&begin(id)).unwrap_err();
    }
    let note = store.status().note.unwrap();
    assert!(note.contains("1000 reports wait") && note.contains("100 reports"), "{note}");
    free_disk(folder.path());
    wait_for("all is stored", || store.status().events == 1_000);
    assert_eq!(store.get(EventId(100)).unwrap(), None, "the oldest went");
    assert!(store.snapshot(EventId(1_100)).unwrap().is_some());
    assert!(store.get(EventId(1_100)).unwrap().unwrap().snapshot);
}

#[test]
fn an_event_says_that_its_snapshot_was_lost() {
    vfs::install();
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill_disk(folder.path());
    let now = now_ms();
    for id in 1..=17u64 {
        let mut report = report(id, 0, Phase::Begin, now);
        report.jpeg = Some(jpeg(id, 2 << 20));
        store.record(&report).unwrap_err();
    }
    store.record(&report(1, 1, Phase::End, now)).unwrap_err();
    free_disk(folder.path());
    let first = || store.get(EventId(1)).unwrap().filter(|event| event.phase == Phase::End);
    wait_for("all is stored", || first().is_some());
    assert!(!first().unwrap().snapshot);
    assert!(store.get(EventId(17)).unwrap().unwrap().snapshot);
}

/// In the environment of a process that was put onto a small disk: what it is to do.
const DISK: &str = "LOOKOUT_TEST_DISK";

/// Not a test by itself: the process on a small disk.
#[test]
fn child_on_a_small_disk() {
    let Ok(job) = std::env::var(DISK) else { return };
    let (kind, folder) = job.rsplit_once(' ').expect("two words");
    let folder = Path::new(folder);
    let memory = folder.join("memory");
    if let Some(lacks) = kind.strip_prefix("start ") {
        return start_on_a_full_disk(&memory, lacks);
    }
    let store = open(&memory);
    let mut id = 0;
    let mut record = || {
        id += 1;
        let mut report = report(id, 0, Phase::Begin, now_ms());
        report.jpeg = Some(jpeg(id, 50_000));
        store.record(&report)
    };
    if kind == "tmpfs" {
        record().expect("there is room");
        let filler = folder.join("filler");
        let mut file = fs::File::create(&filler).unwrap();
        while std::io::Write::write_all(&mut file, &[7; 4_096]).is_ok() {}
        drop(file);
        let error = (0..100).find_map(|_| record().err()).expect("the disk is full");
        assert!(error.message().contains("full"), "{error}");
        assert!(record().is_err());
        assert!(!store.status().writable);
        fs::remove_file(&filler).unwrap();
        wait_for("the disk is written again", || store.status().writable && store.status().events == id);
        assert_eq!(waiting(&store), (1..=id).collect::<Vec<_>>());
    } else {
        // The size of a file is limited, and nothing will change that.
        let stored = (0..1_000).take_while(|_| record().is_ok()).count() as u64;
        assert!(stored < 1_000 && !store.status().writable);
        assert!((0..50).all(|_| record().is_err()), "it goes on");
        assert_eq!(waiting(&store).len() as u64, id);
        store.close().expect_err("not all could be written");
        fs::write(folder.join("stored"), stored.to_string()).unwrap();
    }
}

/// Leaves no room on the disk, of the kind that `lacks` names. Returns what has to go for there to be room again.
fn fill(folder: &Path, lacks: &str) -> Vec<std::path::PathBuf> {
    let mut fillers = Vec::new();
    if lacks == "names" {
        let filler = |number: u32| folder.join(format!("filler{number}"));
        fillers.extend((0..).map(filler).take_while(|path| fs::File::create(path).is_ok()));
    } else {
        let filler = folder.join("filler");
        let mut file = fs::File::create(&filler).unwrap();
        while std::io::Write::write_all(&mut file, &[7; 4_096]).is_ok() {}
        fillers.push(filler);
    }
    assert!(!fillers.is_empty());
    fillers
}

/// A memory that was closed is opened where SQLite has no room for its log and its shared memory; then one that there never was.
fn start_on_a_full_disk(memory: &Path, lacks: &str) {
    let folder = memory.parent().unwrap();
    let store = open(memory);
    for id in 1..=3 {
        store.record(&begin(id)).unwrap();
    }
    store.record(&report(3, 1, Phase::End, now_ms())).unwrap();
    store.set_setting("armed", "false").unwrap();
    store.close().unwrap();
    drop(store);
    let fresh = folder.join("fresh");
    fs::create_dir(&fresh).unwrap();
    let fillers = fill(folder, lacks);

    let store = open(memory);
    let status = store.status();
    assert!(!status.writable && status.note.as_ref().is_some_and(|note| note.contains("full")), "{status:?}");
    assert_eq!((status.events, status.outbox, store.last_id()), (3, 4, EventId(3)));
    assert_eq!(store.setting("armed").unwrap().as_deref(), Some("false"), "what was set is in force");
    assert_eq!(store.unfinished().unwrap().len(), 2);
    assert!(store.get(EventId(1)).unwrap().is_some() && store.snapshot(EventId(1)).unwrap().is_some());
    assert!(store.record(&begin(4)).unwrap_err().message().contains("full"));
    let now = waiting(&store);
    let made = open(&fresh);
    assert!(!made.status().writable);
    assert_eq!((made.setting("armed").unwrap(), made.unfinished().unwrap().len()), (None, 0));
    made.record(&begin(1)).unwrap_err();
    assert_eq!((now, waiting(&made)), (vec![1, 2, 3, 3, 4], vec![1]), "the broker can have them");

    for filler in &fillers {
        fs::remove_file(filler).unwrap();
    }
    wait_for("the memory is written again", || store.status().writable && store.status().events == 4);
    wait_for("the memory is made", || made.status().writable && made.status().events == 1);
    for store in [&store, &made] {
        assert_eq!(store.status().note, None);
        store.close().unwrap();
    }
    drop((store, made));
    assert_eq!(open(memory).status().events, 4);
    assert_eq!(open(&fresh).status().events, 1);
    let left: Vec<_> = [memory, &fresh].into_iter().flat_map(|folder| fs::read_dir(folder).unwrap()).collect();
    let foreign = |name: &str| !["events.db", "events.db-wal", "events.db-shm"].contains(&name);
    assert!(!left.iter().any(|entry| foreign(entry.as_ref().unwrap().file_name().to_str().unwrap())), "{left:?}");
}

/// Runs the child by a shell, which prepares its disk first.
fn on_a_small_disk(kind: &str, folder: &Path, prepare: &str, shell: &[&str]) -> std::process::Output {
    Command::new(shell[0])
        .args(&shell[1..])
        .args(["-c", &format!("{prepare} && exec \"$0\" --exact disk::child_on_a_small_disk --nocapture")])
        .arg(std::env::current_exe().unwrap())
        .env(DISK, format!("{kind} {}", folder.display()))
        .stdin(Stdio::null())
        .output()
        .expect("a shell")
}

#[test]
fn a_real_disk_that_is_full_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=4m tmpfs '{}'", folder.path().display());
    // In a name space of its own, which a user may have as well as root, and which takes the disk along when it ends.
    let inside = ["unshare", "--map-root-user", "--mount", "sh"];
    let allowed = on_a_small_disk("tmpfs", folder.path(), &format!("{mount} && exit 77"), &inside);
    if allowed.status.code() != Some(77) {
        // Containers may forbid mounts to everybody; the limit on files below is a full disk as well.
        eprintln!("no disk can be mounted here: {}", String::from_utf8_lossy(&allowed.stderr));
        return;
    }
    let output = on_a_small_disk("tmpfs", folder.path(), &mount, &inside);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_lookout_starts_on_a_disk_that_has_no_room_and_knows_what_it_knew() {
    for (lacks, options) in [("blocks", "size=4m"), ("names", "size=4m,nr_inodes=40")] {
        let folder = tempfile::tempdir().unwrap();
        let mount = format!("mount -t tmpfs -o {options} tmpfs '{}'", folder.path().display());
        let inside = ["unshare", "--map-root-user", "--mount", "sh"];
        let kind = format!("start {lacks}");
        if on_a_small_disk(&kind, folder.path(), &format!("{mount} && exit 77"), &inside).status.code() != Some(77) {
            eprintln!("no disk can be mounted here: a start on a full one was not tested");
            return;
        }
        let output = on_a_small_disk(&kind, folder.path(), &mount, &inside);
        let told = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{lacks}: {}", String::from_utf8_lossy(&told));
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let output = on_a_small_disk("limit", folder.path(), "trap '' XFSZ && ulimit -f 1000", &["bash"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stored: u64 = fs::read_to_string(folder.path().join("stored")).unwrap().parse().unwrap();
    let store = open(&folder.path().join("memory"));
    assert_eq!(store.status().note, None);
    for id in 1..=stored {
        assert!(store.get(EventId(id)).unwrap().is_some() && store.snapshot(EventId(id)).unwrap().is_some());
    }
}

/// A memory of 30 events, closed.
fn sound(folder: &Path) -> Vec<u8> {
    let store = open(folder);
    for id in 1..=30 {
        store.record(&begin(id)).unwrap();
    }
    store.close().unwrap();
    fs::read(folder.join("events.db")).unwrap()
}

/// Opens a memory whose file was tampered with. It works after that, whatever was in it.
#[track_caller]
fn survives(folder: &Path) -> bool {
    let store = open(folder);
    let _ = store.list(&EventFilter::default(), 100).map(|events| {
        for event in events {
            let _ = (store.snapshot(event.id), store.embedding(event.id));
        }
    });
    let _ = store.find(&Noise(3).direction(WIDTH), BUNDLE, &EventFilter::default(), 5);
    let _ = store.waiting(0, 100, 0);
    let new = report(1_000, 0, Phase::Begin, now_ms());
    store.record(&new).unwrap();
    wait_for("the event is there", || {
        // Where the reads above have met damage, the file may be put aside after the event came into it.
        store.record(&new).is_ok() && store.get(EventId(1_000)).is_ok_and(|event| event.as_ref() == Some(&new.event))
    });
    let aside = folder.join("events.db.bad").exists();
    assert_eq!(aside, store.status().note.is_some_and(|note| note.contains("put aside")));
    store.close().unwrap();
    aside
}

#[test]
fn a_file_with_wrong_bytes_anywhere_is_put_aside_or_harmless() {
    let whole = tempfile::tempdir().unwrap();
    let bytes = sound(whole.path());
    let mut aside = 0;
    for seed in 0..100 {
        let mut noise = Noise(seed);
        let mut bytes = bytes.clone();
        // Half of them in the first pages, where the schema lies.
        let region = if seed % 2 == 0 { bytes.len() } else { 8_192 };
        let length = [1, 16, 512, 4_096][(noise.next() % 4) as usize];
        let at = noise.next() as usize % region;
        for byte in bytes.iter_mut().skip(at).take(length) {
            *byte = noise.next() as u8;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("events.db"), &bytes).unwrap();
        aside += u32::from(survives(folder.path()));
    }
    assert!(aside > 30, "{aside} of 100 were noticed");
}

#[test]
fn a_file_that_is_cut_short_or_no_database_is_put_aside() {
    let whole = tempfile::tempdir().unwrap();
    let bytes = sound(whole.path());
    let zeros = [&[0; 100][..], &bytes[100..]].concat();
    let text = b"this is not a database, it only has the name of one".repeat(20);
    let contents: [&[u8]; 7] =
        [&bytes[..1], &bytes[..50], &bytes[..100], &bytes[..4_096], &bytes[..bytes.len() / 2 + 77], &zeros, &text];
    for content in contents {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("events.db"), content).unwrap();
        assert!(survives(folder.path()), "{} bytes", content.len());
        assert_eq!(fs::read(folder.path().join("events.db.bad")).unwrap(), content, "nothing is thrown away");
    }
    // An empty file is what a new database is.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("events.db"), b"").unwrap();
    assert!(!survives(folder.path()));
}

#[test]
fn a_log_with_wrong_bytes_loses_its_end_and_nothing_else() {
    for seed in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let copy = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        for id in 1..=10 {
            store.record(&begin(id)).unwrap();
        }
        for name in ["events.db", "events.db-wal"] {
            fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
        }
        let log = copy.path().join("events.db-wal");
        let mut bytes = fs::read(&log).unwrap();
        let at = Noise(seed).next() as usize % bytes.len();
        bytes[at] ^= 0x55;
        fs::write(&log, &bytes).unwrap();
        survives(copy.path());
    }
}

#[test]
fn damage_in_a_file_that_is_open_is_noticed_and_the_lookout_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    drop(sound(folder.path()));
    let store = open(folder.path());
    let size = fs::metadata(&path).unwrap().len() as usize;
    fs::write(&path, vec![0xa5; size]).unwrap();
    // Unless the keeper has met it first.
    if let Err(error) = store.snapshot(EventId(7)) {
        assert_eq!(error.code(), Code::Memory);
    }
    wait_for("it is put aside", || store.status().note.is_some_and(|note| note.contains("put aside")));
    store.record(&begin(50)).unwrap();
    assert_eq!(store.list(&EventFilter::default(), 10).unwrap().len(), 1);
    assert_eq!(store.snapshot(EventId(7)).unwrap(), None);
    assert!(store.last_id() >= EventId(50), "ids go on");
}

#[test]
fn a_memory_of_a_newer_lookout_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(sound(folder.path()));
    let path = folder.path().join("events.db");
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    conn.execute("UPDATE settings SET value = '99' WHERE key = 'schema'", []).unwrap();
    drop(conn);
    let before = fs::read(&path).unwrap();
    for error in [
        EventStore::open(folder.path(), &MemoryConfig::default()).err().unwrap(),
        EventReader::open(folder.path()).err().unwrap(),
    ] {
        assert!(error.message().contains("newer lookout (schema 99)"), "{error}");
        assert!(error.help().contains("nothing was changed"));
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(!folder.path().join("events.db.bad").exists());
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = EventStore::open(&file, &MemoryConfig::default()).err().unwrap();
    assert!(error.message().contains(file.to_str().unwrap()), "{error}");
}

#[test]
fn the_oldest_events_go_where_there_are_too_many_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let config = MemoryConfig { bytes: ByteSize::mb(6), ..MemoryConfig::default() };
    let store = EventStore::open(folder.path(), &config).unwrap();
    let now = now_ms();
    for id in 1..=100u64 {
        let mut report = report(id, 0, Phase::Begin, now);
        report.jpeg = Some(jpeg(id, 200_000));
        store.record(&report).unwrap();
        // The first stays under way.
        if id != 1 {
            store.record(&self::report(id, 1, Phase::End, now)).unwrap();
        }
    }
    store.tidy().unwrap();
    let ids: Vec<u64> = store.list(&EventFilter::default(), 1_000).unwrap().iter().map(|event| event.id.0).collect();
    assert!((20..=30).contains(&ids.len()), "{ids:?}");
    assert_eq!((ids[0], *ids.last().unwrap()), (100, 1));
    assert!(ids[..ids.len() - 1].iter().rev().is_sorted_by(|a, b| **a + 1 == **b), "oldest first: {ids:?}");
    assert_eq!(store.len().unwrap(), 199, "messages do not go with their events");
    assert_eq!(store.status().events, ids.len() as u64);
    store.close().unwrap();
    let size = fs::metadata(folder.path().join("events.db")).unwrap().len();
    assert!(size < 6_500_000, "{size} bytes");
}

#[test]
fn the_file_shrinks_when_old_events_go() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let now = now_ms();
    let old = now - 40 * 86_400_000;
    for n in 0..80u64 {
        let mut report = report((old + n) * 2_048, 0, Phase::Begin, old + n);
        report.jpeg = Some(jpeg(n, 200_000));
        store.record(&report).unwrap();
        store.record(&self::report((old + n) * 2_048, 1, Phase::End, old + n)).unwrap();
    }
    store.record(&report(now * 2_048, 0, Phase::Begin, now)).unwrap();
    store.tidy().unwrap();
    wait_for("the old ones are gone", || store.status().events == 1);
    assert_eq!(store.last_id(), EventId(now * 2_048));
    store.close().unwrap();
    let after = fs::metadata(folder.path().join("events.db")).unwrap().len();
    assert!(after < 3_000_000, "{after} bytes of 16,000,000");
}
