//! The memory of events: what is recorded can be had again, after restarts too.

use crate::common::*;
use lookout::Code;
use lookout::memory::{EventFilter, EventReader, EventStore, MemoryConfig, Outbox};
use lookout::watch::{EventId, Phase};

#[test]
fn an_event_stands_as_it_was_told_last_and_keeps_its_picture() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let now = now_ms();
    let first = report(7, 0, Phase::Begin, now);
    let last = report(7, 2, Phase::End, now);
    for report in [&first, &report(7, 1, Phase::Update, now), &last] {
        store.record(report).unwrap();
    }
    assert_eq!(store.get(EventId(7)).unwrap().unwrap(), last.event);
    assert_eq!(store.snapshot(EventId(7)).unwrap().unwrap()[..], first.jpeg.clone().unwrap()[..]);
    let (bundle, floats) = store.embedding(EventId(7)).unwrap().unwrap();
    assert_eq!((bundle.as_str(), &floats[..]), (BUNDLE, &first.embedding.unwrap()[..]));
    assert_eq!(store.last_id(), EventId(7));
    assert_eq!(store.status().events, 1);
    let told: Vec<u32> = store.waiting(0, 10, 0).unwrap().iter().map(|waiting| waiting.event.sequence).collect();
    assert_eq!(told, [0, 1, 2]);
    assert_eq!(store.get(EventId(8)).unwrap(), None);
}

#[test]
fn a_report_that_is_recorded_twice_is_there_and_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let now = now_ms();
    let (begin, end) = (report(7, 0, Phase::Begin, now), report(7, 1, Phase::End, now));
    for report in [&begin, &begin, &end, &begin, &end] {
        store.record(report).unwrap();
    }
    assert_eq!(store.len().unwrap(), 2);
    assert_eq!(store.status().events, 1);
    assert_eq!(store.get(EventId(7)).unwrap().unwrap().phase, Phase::End);
}

#[test]
fn all_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for id in 1..=5 {
        store.record(&begin(id)).unwrap();
    }
    store.set_setting("armed", "no").unwrap();
    let places: Vec<i64> = store.waiting(0, 3, 0).unwrap().iter().map(|waiting| waiting.place).collect();
    store.acknowledged(&places).unwrap();
    store.close().unwrap();
    assert_eq!(store.record(&begin(9)).unwrap_err().code(), Code::Memory);
    drop(store);

    let store = open(folder.path());
    assert_eq!(store.status().events, 5);
    assert_eq!((store.len().unwrap(), store.last_id()), (2, EventId(5)));
    assert_eq!(store.setting("armed").unwrap().as_deref(), Some("no"));
    assert_eq!(store.setting("schema").unwrap(), None, "the database's own settings are not the caller's");
    store.record(&begin(6)).unwrap();
    let after: Vec<i64> = store.waiting(0, 10, 0).unwrap().iter().map(|waiting| waiting.place).collect();
    assert_eq!(after.len(), 3);
    assert!(after.iter().all(|place| !places.contains(place)), "places are never used again");
}

#[test]
fn places_and_ids_are_not_used_again_where_the_newest_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.record(&begin(41)).unwrap();
    let place = store.waiting(0, 1, 0).unwrap()[0].place;
    store.acknowledged(&[place]).unwrap();
    store.close().unwrap();
    let store = open(folder.path());
    store.record(&begin(42)).unwrap();
    assert!(store.waiting(0, 1, 0).unwrap()[0].place > place);
}

#[test]
fn messages_that_are_too_old_are_dropped_and_the_rest_stays_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for id in 1..=10 {
        store.record(&report(id, 0, Phase::Begin, 1_000 * id)).unwrap();
    }
    let ids = |waiting: Vec<lookout::memory::Waiting>| waiting.iter().map(|w| w.event.id.0).collect::<Vec<_>>();
    let all = store.waiting(0, 100, 4_500).unwrap();
    let place = all[1].place;
    assert_eq!(ids(all), [5, 6, 7, 8, 9, 10]);
    assert_eq!(store.len().unwrap(), 6);
    assert_eq!(ids(store.waiting(place, 2, 0).unwrap()), [7, 8]);
}

#[test]
fn events_without_an_end_are_told_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let now = now_ms();
    for id in 1..=3 {
        store.record(&report(id, 0, Phase::Begin, now)).unwrap();
    }
    store.record(&report(2, 1, Phase::End, now)).unwrap();
    drop(store);
    let store = open(folder.path());
    let ids = |store: &EventStore| store.unfinished().unwrap().iter().map(|event| event.id.0).collect::<Vec<_>>();
    assert_eq!(ids(&store), [1, 3]);
    store.record(&report(1, 1, Phase::End, now)).unwrap();
    assert_eq!(ids(&store), [3]);
}

#[test]
fn a_memory_that_may_not_be_written_can_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("50% of what?#1");
    let store = open(&odd);
    store.record(&begin(1)).unwrap();
    store.close().unwrap();
    let allow = |mode| std::fs::set_permissions(&odd, std::fs::Permissions::from_mode(mode)).unwrap();
    allow(0o555);
    let reader = EventReader::open(&odd).unwrap();
    assert_eq!(reader.list(&EventFilter::default(), 10).unwrap().len(), 1);
    allow(0o755);
}

#[test]
fn lists_are_newest_first_and_filtered() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let base = now_ms();
    for n in 0..20u64 {
        let mut report = report((base + n) * 2_048, 0, Phase::Begin, base + n);
        report.event.trigger = if n % 2 == 0 { "even" } else { "odd" }.to_owned();
        report.event.camera = if n < 10 { "front" } else { "back" }.to_owned();
        store.record(&report).unwrap();
    }
    let list = |filter: EventFilter, top: usize| {
        let events = store.list(&filter, top).unwrap();
        events.iter().map(|event| event.began_ms - base).collect::<Vec<_>>()
    };
    let all = EventFilter::default();
    assert_eq!(list(all.clone(), 3), [19, 18, 17]);
    assert_eq!(list(EventFilter { since_ms: Some(base + 17), ..all.clone() }, 100), [19, 18, 17]);
    assert_eq!(
        list(EventFilter { trigger: Some("even".into()), camera: Some("back".into()), ..all.clone() }, 2),
        [18, 16]
    );
    assert_eq!(list(EventFilter { before: Some(EventId((base + 2) * 2_048)), ..all.clone() }, 100), [1, 0]);
    assert!(list(EventFilter { trigger: Some("never".into()), ..all }, 100).is_empty());
}

#[test]
fn a_second_lookout_is_told_that_the_folder_is_taken_and_a_reader_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.record(&begin(1)).unwrap();
    let error = EventStore::open(folder.path(), &MemoryConfig::default()).err().expect("it is taken");
    assert!(error.message().contains("another lookout"), "{error}");
    let reader = EventReader::open(folder.path()).unwrap();
    store.record(&begin(2)).unwrap();
    assert_eq!(reader.list(&EventFilter::default(), 10).unwrap().len(), 2);
    drop(store);
    assert_eq!(reader.list(&EventFilter::default(), 10).unwrap().len(), 2);
    EventStore::open(folder.path(), &MemoryConfig::default()).expect("it is free again");
}

#[test]
fn a_reader_says_where_it_found_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let error = EventReader::open(folder.path()).err().unwrap();
    assert!(error.message().contains("no memory of events") && !error.help().is_empty(), "{error}");
}

#[test]
fn numbers_that_are_none_are_refused_and_the_store_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut wrong = begin(1);
    wrong.event.score = f32::NAN;
    assert_eq!(store.record(&wrong).unwrap_err().code(), Code::Memory);
    let mut blind = begin(2);
    blind.embedding = Some(vec![f32::INFINITY; WIDTH].into());
    store.record(&blind).unwrap();
    assert_eq!(store.embedding(EventId(2)).unwrap(), None);
    assert_eq!(store.status().events, 1);
    assert!(store.status().writable);
}

#[test]
fn nothing_is_written_when_nothing_happens() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let first = begin(1);
    store.record(&first).unwrap();
    store.set_setting("armed", "yes").unwrap();
    let look = || {
        let mut files: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|item| item.unwrap())
            // Readers take and leave their marks in the shared memory file; it never reaches a disk for good.
            .filter(|item| !item.file_name().to_string_lossy().ends_with("-shm"))
            .map(|item| {
                (item.file_name(), item.metadata().unwrap().len(), item.metadata().unwrap().modified().unwrap())
            })
            .collect();
        files.sort();
        files
    };
    let before = look();
    for _ in 0..20 {
        store.tidy().unwrap();
        store.record(&first).unwrap();
        store.set_setting("armed", "yes").unwrap();
        store.waiting(0, 10, 1).unwrap();
        store.acknowledged(&[]).unwrap();
        store.list(&EventFilter::default(), 10).unwrap();
        store.status();
    }
    assert_eq!(look(), before);
}
