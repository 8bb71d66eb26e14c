//! `GET /metrics` in Prometheus' text format, version 0.0.4.
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::camera::CameraState;
use crate::watch::Status;

use super::health::trouble;
use super::problem::Problem;
use super::shared::{Counts, Shared};

/// Everything that [`Status`] says in numbers, and what the page itself answered.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let status = shared.call(|desk| desk.status()).await?;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, write(&status, &shared.counts)).into_response())
}

fn write(status: &Status, counts: &Counts) -> String {
    let mut page = Page::default();
    let about = [("device", &*status.device), ("version", &*status.version), ("bundle", &*status.bundle)];
    page.gauge("info", "What runs here, as labels; always 1.").sample(&about, 1);
    page.gauge("healthy", "Whether capture and inference make progress.").sample(&[], truth(trouble(status).is_none()));
    page.gauge("uptime_seconds", "Time since the daemon started.").sample(&[], status.uptime_s);
    page.gauge("armed", "Whether triggers may begin events.").sample(&[], truth(status.armed));
    page.counter("looks_total", "Frames that were looked at.").sample(&[], status.looks);
    page.counter("events_total", "Events that began.").sample(&[], status.events);
    page.counter("questions_total", "Questions that were answered.").sample(&[], status.questions);
    page.counter("questions_refused_total", "Questions refused as there were too many.").sample(&[], status.refused);
    page.gauge("look_seconds", "Time that the last look took.").sample(&[], status.look_ms / 1e3);
    if let Some(celsius) = status.celsius {
        page.gauge("temperature_celsius", "Temperature of the processor.").sample(&[], celsius);
    }
    page.gauge("throttled", "Whether frames are dropped to cool down.").sample(&[], truth(status.throttled));
    if let Some(bytes) = resident_bytes() {
        page.gauge("resident_memory_bytes", "Memory of the process.").sample(&[], bytes);
    }
    cameras(&mut page, status);
    triggers(&mut page, status);
    links(&mut page, status);
    let memory = &status.memory;
    page.gauge("memory_writable", "Whether events can be written.").sample(&[], truth(memory.writable));
    page.gauge("memory_events", "Events that are kept.").sample(&[], memory.events);
    page.gauge("memory_bytes", "Size of the memory of events on disk.").sample(&[], memory.bytes);
    page.gauge("outbox_messages", "Messages that wait for the broker.").sample(&[], memory.outbox);
    page.counter("http_responses_total", "Answers of this page, by status.");
    for (code, count) in counts.answers() {
        page.sample(&[("code", &code.to_string())], count);
    }
    page.counter("http_told_total", "Events told to open pages.").sample(&[], counts.told.load(Relaxed));
    page.text
}

fn cameras(page: &mut Page, status: &Status) {
    page.gauge("camera_up", "Whether the camera gives frames.");
    for camera in &status.cameras {
        page.sample(&[("camera", &camera.name)], truth(camera.state == CameraState::Running));
    }
    page.counter("camera_frames_total", "Frames of the camera.");
    for camera in &status.cameras {
        page.sample(&[("camera", &camera.name)], camera.frames);
    }
    page.counter("camera_broken_total", "Frames of the camera that could not be decoded.");
    for camera in &status.cameras {
        page.sample(&[("camera", &camera.name)], camera.broken);
    }
    page.gauge("camera_frames_per_second", "Frames a second over the last seconds.");
    for camera in &status.cameras {
        page.sample(&[("camera", &camera.name)], camera.fps);
    }
    page.gauge("camera_frame_age_seconds", "Time since the last frame.");
    for camera in &status.cameras {
        if let Some(age) = camera.age_ms {
            page.sample(&[("camera", &camera.name)], age as f64 / 1e3);
        }
    }
    page.counter("camera_reopened_total", "How often it was opened anew after a failure.");
    for camera in &status.cameras {
        page.sample(&[("camera", &camera.name)], camera.reopened);
    }
}

fn triggers(page: &mut Page, status: &Status) {
    page.gauge("trigger_score", "Newest calibrated score, 0 to 1.");
    for trigger in &status.triggers {
        for on in &trigger.scores {
            page.sample(&[("trigger", &trigger.name), ("camera", &on.camera)], on.score);
        }
    }
    page.gauge("trigger_threshold", "Score at which it begins.");
    for trigger in &status.triggers {
        page.sample(&[("trigger", &trigger.name)], trigger.threshold);
    }
    page.gauge("trigger_active", "Whether it holds now.");
    for trigger in &status.triggers {
        page.sample(&[("trigger", &trigger.name)], truth(trigger.active));
    }
    page.counter("trigger_events_total", "Events that it began.");
    for trigger in &status.triggers {
        page.sample(&[("trigger", &trigger.name)], trigger.events);
    }
}

fn links(page: &mut Page, status: &Status) {
    page.gauge("link_up", "Whether the way out works.");
    for link in &status.links {
        page.sample(&[("link", &link.name)], truth(link.up));
    }
    page.counter("link_sent_total", "Messages sent.");
    for link in &status.links {
        page.sample(&[("link", &link.name)], link.sent);
    }
    page.counter("link_received_total", "Questions received.");
    for link in &status.links {
        page.sample(&[("link", &link.name)], link.received);
    }
}

/// Metric after metric; a sample belongs to the metric above it.
#[derive(Default)]
struct Page {
    text: String,
    metric: &'static str,
}

impl Page {
    fn gauge(&mut self, metric: &'static str, help: &str) -> &mut Self {
        self.begin(metric, "gauge", help)
    }

    fn counter(&mut self, metric: &'static str, help: &str) -> &mut Self {
        self.begin(metric, "counter", help)
    }

    fn begin(&mut self, metric: &'static str, kind: &str, help: &str) -> &mut Self {
        self.metric = metric;
        let _ = writeln!(self.text, "# HELP lookout_{metric} {help}\n# TYPE lookout_{metric} {kind}");
        self
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "lookout_{}{labels} {value}", self.metric);
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn truth(value: bool) -> u8 {
    value.into()
}

/// Resident memory, where `/proc` tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.gauge("up", "Up.").sample(&[("name", "a\"b\\c\nd"), ("kind", "x")], 1.5);
        let lines =
            "# HELP lookout_up Up.\n# TYPE lookout_up gauge\nlookout_up{name=\"a\\\"b\\\\c\\nd\",kind=\"x\"} 1.5\n";
        assert_eq!(page.text, lines);
    }
}
