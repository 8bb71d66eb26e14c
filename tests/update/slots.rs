//! The first program of a board and `lookout` agree on which slot is booted, whatever is cut while a record is written.

use crate::common::{Disk, choose, shell};
use lookout::update::{Ask, Record, Records, Slot};

fn tried(disk: &Disk, tries: u8) {
    disk.records()
        .write(|record| {
            record.versions[1] = Some("0.2.0".to_owned());
            record.trying = Some((Slot::B, tries));
        })
        .unwrap();
}

#[test]
fn a_new_card_boots_its_one_system() {
    let disk = Disk::new();
    assert_eq!(choose(&disk), ("a".into(), "good".into()));
    assert_eq!(disk.records().now().sequence, 2, "nothing is written");
}

#[test]
fn a_system_that_is_tried_is_booted_twice_and_then_the_one_before() {
    let disk = Disk::new();
    tried(&disk, 2);
    assert_eq!(choose(&disk), ("b".into(), "try, 1 left".into()));
    assert_eq!(disk.records().now().trying, Some((Slot::B, 1)));
    assert_eq!(choose(&disk), ("b".into(), "try, 0 left".into()));
    assert_eq!(choose(&disk), ("a".into(), "back: b was not confirmed".into()));
    let record = disk.records().now().clone();
    assert_eq!((record.trying, record.failed, record.good), (None, Some(Slot::B), Slot::A));
    assert_eq!(choose(&disk), ("a".into(), "good".into()));
}

#[test]
fn a_system_that_was_confirmed_stays() {
    let disk = Disk::new();
    tried(&disk, 2);
    choose(&disk);
    disk.records().write(|record| (record.good, record.trying) = (Slot::B, None)).unwrap();
    for _ in 0..3 {
        assert_eq!(choose(&disk), ("b".into(), "good".into()));
    }
}

#[test]
fn every_field_that_the_script_does_not_know_is_kept_when_it_writes() {
    let disk = Disk::new();
    disk.records()
        .write(|record| {
            record.trying = Some((Slot::B, 2));
            record.failed = Some(Slot::A);
            record.ask = Ask::Picture;
            record.data = true;
            record.versions = ["1.0+x~y".to_owned(), "2".repeat(48)].map(Some);
        })
        .unwrap();
    let before = disk.records().now().clone();
    choose(&disk);
    let after = Record { sequence: before.sequence + 1, trying: Some((Slot::B, 1)), ..before };
    assert_eq!(*disk.records().now(), after);
}

#[test]
fn a_record_that_the_script_was_writing_when_the_power_went_leaves_the_one_before() {
    let disk = Disk::new();
    tried(&disk, 2);
    let before = disk.bytes();
    choose(&disk);
    let after = disk.bytes();
    let changed: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
    let (first, last) = (changed[0], changed[changed.len() - 1]);
    assert_eq!(first / 512, last / 512, "one sector is written");
    for cut in (first..=last).step_by(7) {
        let mut torn = before.clone();
        torn[first..cut].copy_from_slice(&after[first..cut]);
        disk.set(&torn);
        assert_eq!(choose(&disk).0, "b", "cut at {cut}");
        assert!(disk.records().now().trying.is_some_and(|(_, left)| left <= 1));
    }
}

#[test]
fn without_a_whole_record_the_first_slot_is_booted() {
    let disk = Disk::new();
    disk.set(&vec![0x5a; disk.bytes().len()]);
    assert_eq!(choose(&disk), ("a".into(), "no record is whole".into()));
    let error = Records::open(disk.open(), "card").err().unwrap();
    assert!(error.message().contains("does not say which of its slots is good"), "{error}");
}

#[test]
fn a_slot_that_cannot_be_mounted_is_given_up_at_once() {
    let disk = Disk::new();
    tried(&disk, 2);
    shell(&disk, "choose_slot \"$DISK\"; give_up \"$DISK\"");
    assert_eq!(choose(&disk), ("a".into(), "good".into()));
    assert_eq!(disk.records().now().failed, Some(Slot::B));
}

#[test]
fn a_system_that_is_tried_and_not_confirmed_in_time_starts_again_whatever_it_does() {
    let disk = Disk::new();
    let guarded = || {
        let run = disk.path("run");
        let guard = format!("guard {0} 1 {0}/trigger {0}/never; wait; cat {0}/trigger; rm {0}/never", run.display());
        shell(&disk, &guard)
    };
    std::fs::create_dir_all(disk.path("run/lookout")).unwrap();
    assert_eq!(guarded(), "b\n");
    std::fs::write(disk.path("run/lookout/confirmed"), "").unwrap();
    assert_eq!(guarded(), "");
}
