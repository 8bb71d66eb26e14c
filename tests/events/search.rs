//! Search by embedding gives what comparing every pair would give.

use crate::common::*;
use bytesize::ByteSize;
use lookout::memory::{EventFilter, EventStore, MemoryConfig};
use lookout::watch::{EventId, Phase, Report};

/// Embeddings as a camera makes them: a few scenes, each many times with small differences.
fn scenes(count: u64, base_ms: u64) -> Vec<Report> {
    let scenes: Vec<Vec<f32>> = (0..8).map(|scene| Noise(900 + scene).direction(WIDTH)).collect();
    (0..count)
        .map(|n| {
            let mut noise = Noise(n);
            let scene = &scenes[(noise.next() % 8) as usize];
            let other = noise.direction(WIDTH);
            let share = (noise.float() + 1.0) / 2.0;
            let mut floats: Vec<f32> = scene.iter().zip(&other).map(|(a, b)| a + share * b).collect();
            let length = floats.iter().map(|x| x * x).sum::<f32>().sqrt();
            floats.iter_mut().for_each(|x| *x /= length);
            let began_ms = base_ms + 1_000 * n;
            let mut report = report(began_ms * 2_048, 0, Phase::Begin, began_ms);
            report.jpeg = None;
            report.to_mqtt = false;
            report.embedding = Some(floats.into());
            report.event.trigger = format!("trigger{}", n % 3);
            report.event.camera = if n % 2 == 0 { "front" } else { "back" }.to_owned();
            report
        })
        .collect()
}

fn filled(folder: &std::path::Path, reports: &[Report], search_bytes: ByteSize) -> EventStore {
    let store = EventStore::open(folder, &MemoryConfig { search_bytes, ..MemoryConfig::default() }).unwrap();
    for report in reports {
        store.record(report).unwrap();
    }
    store
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
}

/// Holds a search against comparing with each of `reports` that `keep` lets through.
#[track_caller]
fn same(
    store: &EventStore,
    reports: &[Report],
    query: &[f32],
    filter: &EventFilter,
    top: usize,
    keep: impl Fn(&Report) -> bool,
) {
    let mut expected: Vec<(u64, f32)> = reports
        .iter()
        .filter(|report| keep(report))
        .map(|report| (report.event.id.0, cosine(query, report.embedding.as_ref().unwrap())))
        .collect();
    expected.sort_by(|a, b| b.1.total_cmp(&a.1));
    expected.truncate(top);
    let found = store.find(query, BUNDLE, filter, top).unwrap();
    assert_eq!(found.len(), expected.len());
    for ((event, cosine), (id, exact)) in found.iter().zip(&expected) {
        assert!((cosine - exact).abs() < 1e-5, "{cosine} and {exact}");
        // Two that are equal up to rounding may change places.
        assert!(
            event.id.0 == *id
                || expected.iter().any(|(other, near)| *other == event.id.0 && (near - exact).abs() < 1e-5)
        );
    }
}

#[test]
fn the_best_are_those_that_comparing_all_gives_whatever_fits_into_memory() {
    let base = now_ms() - 10_000_000;
    let reports = scenes(5_000, base);
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path(), &reports, ByteSize::mb(1)));
    // All in memory, a part, nothing.
    for search_bytes in [ByteSize::mb(100), ByteSize::mb(2), ByteSize(0)] {
        let store = filled(folder.path(), &[], search_bytes);
        for seed in 0..4 {
            let query = if seed < 2 {
                Noise(seed).direction(WIDTH)
            } else {
                reports[seed as usize].embedding.clone().unwrap().to_vec()
            };
            for top in [1, 10, 300] {
                same(&store, &reports, &query, &EventFilter::default(), top, |_| true);
            }
            let filter =
                EventFilter { trigger: Some("trigger1".into()), camera: Some("back".into()), ..EventFilter::default() };
            same(&store, &reports, &query, &filter, 10, |r| r.event.trigger == "trigger1" && r.event.camera == "back");
            let since = base + 4_900_000;
            let filter = EventFilter { since_ms: Some(since), ..EventFilter::default() };
            same(&store, &reports, &query, &filter, 10, |r| r.event.began_ms >= since);
        }
    }
}

#[test]
fn a_search_of_the_last_hour_then_of_all_finds_both() {
    let base = now_ms() - 10_000_000;
    let reports = scenes(500, base);
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path(), &reports, ByteSize::mb(100));
    let query = Noise(3).direction(WIDTH);
    for since in [base + 490_000, base + 300_000, base + 400_000, 0] {
        let filter = EventFilter { since_ms: Some(since), ..EventFilter::default() };
        same(&store, &reports, &query, &filter, 20, |r| r.event.began_ms >= since);
    }
}

#[test]
fn events_that_come_and_go_between_searches_are_found_and_are_not() {
    let base = now_ms() - 50 * 86_400_000;
    let mut old = scenes(100, base);
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path(), &old, ByteSize::mb(100));
    let query = old[70].embedding.clone().unwrap();
    same(&store, &old, &query, &EventFilter::default(), 5, |_| true);
    let new = scenes(4_500, now_ms() - 10_000_000);
    for (count, report) in new.iter().enumerate() {
        store.record(report).unwrap();
        if count == 10 {
            let all: Vec<Report> = old.iter().chain(&new[..11]).cloned().collect();
            same(&store, &all, &query, &EventFilter::default(), 5, |_| true);
        }
    }
    for report in &mut old {
        let mut end = report.clone();
        end.event.phase = Phase::End;
        end.event.sequence = 1;
        end.embedding = None;
        store.record(&end).unwrap();
    }
    store.tidy().unwrap();
    assert_eq!(store.status().events, 4_500, "what is older than 30 days goes");
    same(&store, &new, &query, &EventFilter::default(), 300, |_| true);
}

#[test]
fn embeddings_of_another_bundle_are_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut other = begin(1);
    other.event.bundle = "other@1".to_owned();
    let query = other.embedding.clone().unwrap();
    store.record(&other).unwrap();
    store.record(&begin(2)).unwrap();
    let ids = |bundle: &str| {
        let found = store.find(&query, bundle, &EventFilter::default(), 10).unwrap();
        found.iter().map(|(event, _)| event.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(BUNDLE), [EventId(2)]);
    assert_eq!(ids("other@1"), [EventId(1)]);
    assert_eq!(ids(BUNDLE), [EventId(2)], "also when it is asked about in turns");
    assert!(ids("third@1").is_empty());
    // A query of another width than the bundle's embeddings.
    assert!(store.find(&query[..100], BUNDLE, &EventFilter::default(), 10).unwrap().is_empty());
    assert!(store.find(&[f32::NAN; WIDTH], BUNDLE, &EventFilter::default(), 10).unwrap().is_empty());
}

#[test]
fn searches_and_records_of_many_threads_do_not_wait_for_each_other_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..50 {
                    let id = 1 + n * 4 + thread;
                    store.record(&begin(id)).unwrap();
                    let query = Noise(id).direction(WIDTH);
                    let found = store.find(&query, BUNDLE, &EventFilter::default(), 3).unwrap();
                    assert_eq!(found[0].0.id, EventId(id), "one's own event is found at once");
                    assert!(found[0].1 > 0.999);
                }
            });
        }
    });
    assert_eq!(store.status().events, 200);
}
