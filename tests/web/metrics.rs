//! What Prometheus scrapes is well formed and says what the status says.

use std::collections::HashMap;

use crate::common::{Served, get};

/// Samples by name and labels, each of a metric that was declared once, above it.
fn parse(text: &str) -> HashMap<String, f64> {
    let mut types: HashMap<&str, &str> = HashMap::new();
    let mut helps: Vec<&str> = Vec::new();
    let mut samples = HashMap::new();
    let mut current = "";
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(!words.is_empty() && !helps.contains(&name), "{line}");
            helps.push(name);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(["gauge", "counter"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert_eq!(helps.last(), Some(&name), "{line}");
            assert!(types.insert(name, kind).is_none(), "{line}");
            current = name;
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(sample.split('{').next(), Some(current), "{line}");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(samples.insert(sample.to_owned(), value).is_none(), "{line}");
        }
    }
    samples
}

#[test]
fn metrics_say_what_the_status_says() {
    let served = Served::open();
    served.desk.add_garden();
    served.desk.score("dog", 0.25);
    served.desk.begin("dog", "a dog", std::time::Duration::ZERO);
    assert_eq!(get(&served, "/nothing").status, 404);
    let got = get(&served, "/metrics");
    assert_eq!(got.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let samples = parse(got.text());
    for (sample, value) in [
        ("lookout_armed", 1.0),
        ("lookout_healthy", 0.0),
        ("lookout_events_total", 1.0),
        ("lookout_look_seconds", 0.0074),
        ("lookout_temperature_celsius", 51.5),
        (r#"lookout_camera_up{camera="porch"}"#, 1.0),
        (r#"lookout_camera_up{camera="garden"}"#, 0.0),
        (r#"lookout_camera_reopened_total{camera="garden"}"#, 3.0),
        (r#"lookout_trigger_score{trigger="dog",camera="porch"}"#, 0.25),
        (r#"lookout_trigger_active{trigger="dog"}"#, 1.0),
        (r#"lookout_trigger_active{trigger="parcel"}"#, 0.0),
        (r#"lookout_link_up{link="mqtt"}"#, 1.0),
        (r#"lookout_http_responses_total{code="404"}"#, 1.0),
    ] {
        assert_eq!(samples.get(sample), Some(&value), "{sample}");
    }
    assert!(samples["lookout_resident_memory_bytes"] > 1e6);
    let info = samples.keys().find(|name| name.starts_with("lookout_info")).unwrap();
    assert!(info.contains(r#"device="porch-pi""#) && info.contains("bundle="), "{info}");
}
