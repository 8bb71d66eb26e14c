//! Answers for people. What has no form of its own is shown as JSON.

use serde_json::Value;

use super::super::console::{column, share};

pub(super) fn reply(reply: &Value) -> String {
    let shown = match reply["task"].as_str() {
        Some("label") => labels(reply),
        Some("caption") => sentence(reply, "caption"),
        Some("ask") => sentence(reply, "answer"),
        Some("check") => check(reply),
        Some("ground") => boxes(reply),
        Some("find") => events(reply),
        _ => None,
    };
    shown.unwrap_or_else(|| format!("{reply:#}\n"))
}

pub(super) fn event(event: &Value) -> String {
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let (at, phase) = (when(&event["at_ms"]), text("phase"));
    let score = event["score"].as_f64().unwrap_or_default();
    format!("{at}  {phase:<6}  {:<20}  {score:.2}  {}\n", text("trigger"), text("caption"))
}

fn labels(reply: &Value) -> Option<String> {
    let row = |label: &str, score: f64| format!("{}  {}\n", column(label, 32), share(score as f32));
    let mut text = String::new();
    for label in reply["labels"].as_array()? {
        text += &row(label["label"].as_str()?, label["score"].as_f64()?);
    }
    Some(text + &reply["none"].as_f64().map_or(String::new(), |none| row("none of these", none)))
}

fn sentence(reply: &Value, key: &str) -> Option<String> {
    Some(format!("{}\n  score {:.2}\n", reply[key].as_str()?, reply["score"].as_f64()?))
}

fn check(reply: &Value) -> Option<String> {
    let verdict = if reply["supported"].as_bool()? { "supported" } else { "not supported" };
    Some(format!("{verdict}, score {:.2}\n", reply["score"].as_f64()?))
}

fn boxes(reply: &Value) -> Option<String> {
    let boxes = reply["boxes"].as_array()?;
    if boxes.is_empty() {
        return Some("it is not to be seen\n".to_owned());
    }
    let mut text = format!("{:>7} {:>7} {:>7} {:>7}   score\n", "x", "y", "width", "height");
    for found in boxes {
        let side = |at: usize| found["box"][at].as_f64();
        let score = found["score"].as_f64()?;
        text += &format!("{:7.0} {:7.0} {:7.0} {:7.0}   {score:5.2}\n", side(0)?, side(1)?, side(2)?, side(3)?);
    }
    Some(text)
}

fn events(reply: &Value) -> Option<String> {
    let events = reply["events"].as_array()?;
    if events.is_empty() {
        return Some("no event\n".to_owned());
    }
    let row = |event: &Value| {
        let score = event["match"].as_f64().or(event["score"].as_f64()).unwrap_or_default();
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        format!("{}  {score:.2}  {}  {} {}\n", when(&event["began_ms"]), event["id"], text("trigger"), text("caption"))
    };
    Some(events.iter().map(row).collect())
}

/// A time in the local time zone.
fn when(ms: &Value) -> String {
    let time = ms.as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(String::new, |time| {
        time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_answer_has_a_form_for_people() {
        for (answer, words) in [
            (json!({"task": "label", "labels": [{"label": "a dog", "score": 0.5}], "none": 0.5}), "none of these"),
            (json!({"task": "caption", "caption": "a dog runs", "score": 0.5}), "a dog runs\n  score 0.50"),
            (json!({"task": "ask", "answer": "two", "score": 0.25}), "two\n  score 0.25"),
            (json!({"task": "check", "supported": false, "score": 0.25}), "not supported, score 0.25"),
            (json!({"task": "ground", "boxes": [{"box": [1.0, 2.0, 3.0, 4.0], "score": 0.5}]}), "height"),
            (json!({"task": "ground", "boxes": []}), "not to be seen"),
            (json!({"task": "find", "events": []}), "no event"),
            (json!({"task": "find", "events": [{"id": 77, "began_ms": 1_795_000_000_000_u64, "score": 0.5}]}), "77"),
            (json!({"task": "status", "armed": true}), "\"armed\": true"),
        ] {
            assert!(reply(&answer).contains(words), "{answer}: {}", reply(&answer));
        }
        let told = json!({"id": 1, "trigger": "door", "phase": "begin", "at_ms": 0, "score": 0.5, "caption": "a man"});
        assert!(event(&told).contains("begin   door") && event(&told).contains("a man"), "{}", event(&told));
    }
}
