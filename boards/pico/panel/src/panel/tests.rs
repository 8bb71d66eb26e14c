use lookout::protocol::{Findings, Label, LabelScore, Score, VERSION, Watch};

use super::*;
use crate::{Colour, SETTINGS};

fn panel() -> Panel {
    Panel::new(SETTINGS, false)
}

fn status() -> Message {
    Message::Status(Status {
        watch: Watch::Watching,
        uptime_s: 5,
        frames: 9,
        events: 1,
        look_ms: 40,
        decidegrees: Some(481),
        throttled: false,
        bundle: text("b"),
    })
}

fn event(id: u64, phase: Phase) -> Message {
    let (trigger, caption) = (text("visitor"), text("a person at a door"));
    Message::Event(Event { id, trigger, phase, unix_ms: 0, score: Score::new(0.83), caption })
}

fn hear(panel: &mut Panel, message: Message, now: Millis) {
    panel.hear(Heard::Message(message), now);
}

fn damage(panel: &mut Panel, bad: Bad, now: Millis) {
    panel.hear(Heard::Damage(Damage::Frame(bad)), now);
}

/// What is told at `now`, questions only.
fn asked(panel: &mut Panel, now: Millis) -> Option<Ask> {
    let mut asked = None;
    for _ in 0..4 {
        match panel.next(now) {
            Some(Message::Ask(ask)) => asked = Some(ask),
            Some(Message::Ping { .. }) => {}
            Some(other) => panic!("{other:?}"),
            None => return asked,
        }
    }
    panic!("it never ends");
}

fn labels(id: u32, best: &str) -> Message {
    let label = |name: &str, score| LabelScore { label: Label::Is(text(name)), score: Score::new(score) };
    let none = LabelScore { label: Label::None, score: Score::new(0.1) };
    let labels = [label(best, 0.625), label("a teapot", 0.275), none].into_iter().collect();
    Message::Answer(Answer { id, ms: 70, findings: Findings::Labels(labels) })
}

fn failure(id: Option<u32>, code: FailureCode) -> Message {
    Message::Failure(Failure { id, code, text: text("it is dark; switch on a light") })
}

#[test]
fn motion_asks_for_the_labels_and_shows_the_best_in_its_colour() {
    let mut panel = panel();
    hear(&mut panel, status(), 0);
    assert_eq!(panel.want(Cause::Motion, 7, 100), Some(Note::Asked(7, Cause::Motion)));
    let ask = asked(&mut panel, 100).unwrap();
    assert_eq!((ask.id, ask.question, &ask.text[..]), (7, Question::Label, "a person, a dog, a cat, an empty room"));
    assert_eq!(panel.view(100).colour, Colour::Blue);
    let note = panel.hear(Heard::Message(labels(7, "a dog")), 170);
    assert_eq!(note, Some(Note::Answered(7, 70)));
    let view = panel.view(170);
    assert_eq!((&view.title[..], view.colour), ("a dog", Colour::Green));
    assert_eq!(&view.body[..], " 63 % a dog\n 28 % a teapot\n 10 % none of these\n");
    assert_eq!(asked(&mut panel, 5_000), None, "it is answered");
    hear(&mut panel, status(), 16_000);
    assert_eq!(&panel.view(16_000).title[..], "lookout", "an answer is not shown for ever");
}

#[test]
fn a_question_is_repeated_until_it_is_answered_but_not_for_ever() {
    let mut panel = panel();
    panel.want(Cause::Button, 1, 0);
    let mut times = 0;
    for now in 0..PATIENCE_MS + 10 {
        if now % 1_000 == 0 {
            hear(&mut panel, status(), now);
        }
        times += u32::from(asked(&mut panel, now).is_some_and(|ask| ask.id == 1));
    }
    assert_eq!(times, (PATIENCE_MS / AGAIN_MS) as u32);
    assert_eq!(&panel.view(PATIENCE_MS + 10).title[..], "No answer");
    hear(&mut panel, labels(1, "a dog"), PATIENCE_MS + 20);
    assert_eq!(&panel.view(PATIENCE_MS + 20).title[..], "No answer", "it is too late");
}

#[test]
fn a_busy_lookout_is_asked_again_soon_and_a_damaged_question_at_once() {
    let mut panel = panel();
    panel.want(Cause::Motion, 1, 0);
    assert!(asked(&mut panel, 0).is_some());
    hear(&mut panel, failure(Some(1), FailureCode::Busy), 10);
    assert!(asked(&mut panel, 209).is_none());
    assert!(asked(&mut panel, 210).is_some());
    hear(&mut panel, failure(None, FailureCode::Frame), 220);
    assert!(asked(&mut panel, 269).is_none());
    assert!(asked(&mut panel, 270).is_some());
    hear(&mut panel, failure(Some(9), FailureCode::Camera), 280);
    assert_eq!(&panel.view(280).title[..], "Looking...", "another question failed");
    assert_eq!(panel.want(Cause::Motion, 2, 290), None, "one at a time");
    hear(&mut panel, failure(Some(1), FailureCode::Camera), 300);
    let view = panel.view(300);
    assert_eq!((&view.title[..], view.colour), ("No picture", Colour::Red));
    assert!(view.body.contains("switch on a light"));
}

#[test]
fn an_event_is_shown_as_long_as_it_lasts_but_an_answer_first() {
    let mut panel = panel();
    hear(&mut panel, event(5, Phase::Began), 0);
    let view = panel.view(0);
    assert_eq!((&view.title[..], &view.body[..]), ("visitor", "a person at a door\n83 %"));
    assert_eq!(view.colour, Colour::Magenta);
    panel.want(Cause::Motion, 1, 10);
    hear(&mut panel, labels(1, "a cat"), 20);
    assert_eq!(&panel.view(20).title[..], "a cat");
    for now in (0..20_000).step_by(1_000) {
        hear(&mut panel, status(), now);
    }
    assert_eq!(&panel.view(19_000).title[..], "visitor");
    panel.want(Cause::Motion, 2, 19_000);
    hear(&mut panel, labels(2, "a cat"), 19_000);
    hear(&mut panel, event(6, Phase::Began), 19_001);
    assert_eq!(&panel.view(19_001).title[..], "a cat");
    assert_eq!(&panel.view(22_000).title[..], "visitor", "a new event is not kept waiting");
    hear(&mut panel, event(5, Phase::Began), 22_000);
    hear(&mut panel, event(4, Phase::Ended), 22_001);
    assert_eq!(&panel.view(22_001).title[..], "visitor", "another event ended");
    hear(&mut panel, event(5, Phase::Ended), 22_002);
    assert_eq!(&panel.view(22_002).title[..], "lookout");
}

#[test]
fn a_lookout_that_falls_silent_is_missed_and_its_event_forgotten() {
    let mut panel = panel();
    assert!(panel.view(0).body.contains("Looking for"));
    assert_eq!(&panel.view(STARTED_MS).title[..], "No lookout");
    hear(&mut panel, event(5, Phase::Began), 4_000);
    assert_eq!(&panel.view(4_000 + GONE_MS - 1).title[..], "visitor");
    let view = panel.view(4_000 + GONE_MS);
    assert_eq!((&view.title[..], view.colour), ("No lookout", Colour::Yellow));
    hear(&mut panel, status(), 20_000);
    assert_eq!(&panel.view(20_000).body[..], "Watching.\n1 event\n48 C");
}

#[test]
fn bytes_without_a_frame_mean_another_speed() {
    let mut panel = panel();
    panel.received(STRAY - 1, 5_000);
    assert_eq!(&panel.view(5_000).title[..], "No lookout");
    panel.received(1, 5_001);
    let view = panel.view(5_001);
    assert_eq!(&view.title[..], "Wrong speed?");
    assert!(view.body.contains("115200 bits/s"), "{}", view.body);
    hear(&mut panel, status(), 5_002);
    panel.received(STRAY * 3, 5_003);
    assert_eq!(&panel.view(5_003).title[..], "lookout", "noise on a line that works is only noise");
    assert_eq!(&panel.view(5_003 + GONE_MS).title[..], "No lookout", "it was an accident");
}

#[test]
fn another_version_is_told_until_it_is_ours() {
    let mut panel = panel();
    damage(&mut panel, Bad::Version(VERSION + 1), 5_000);
    let view = panel.view(5_000);
    assert_eq!(&view.title[..], "Update this board");
    assert_eq!(&view.body[..], "lookout speaks protocol 2, this board 1. Flash newer firmware.");
    damage(&mut panel, Bad::Version(VERSION - 1), 5_010);
    assert_eq!(&panel.view(5_010).title[..], "Update lookout");
    damage(&mut panel, Bad::Checksum, 5_020);
    assert_eq!(&panel.view(5_020).title[..], "Update lookout", "a damaged frame tells nothing");
    hear(&mut panel, status(), 5_030);
    assert_eq!(&panel.view(5_030).title[..], "lookout");
}

#[test]
fn a_message_that_came_to_the_protocol_later_is_a_sign_of_life() {
    let mut panel = panel();
    damage(&mut panel, Bad::Malformed, 5_000);
    assert!(panel.view(5_000).body.contains("Looking for"));
}

#[test]
fn a_restart_by_the_watchdog_is_told() {
    let mut panel = Panel::new(SETTINGS, true);
    hear(&mut panel, status(), 10);
    assert!(panel.view(10).body.contains("watchdog"));
    assert!(panel.view(STARTED_MS).body.contains("Watching"));
}
