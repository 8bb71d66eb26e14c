//! Questions and answers between the watch's words and the wire's.

use serde_json::{Map, Value, json};

use crate::camera::CameraState;
use crate::protocol::{self, Failure, FailureCode, Findings, Found, Label, LabelScore, Score, ScoredBox, text};
use crate::text::parse_labels;
use crate::watch::{Answer, Event, Phase, Reply, Request, Status};
use crate::{Code, Error, Result};

/// The request that a question and its text are.
pub(super) fn request(question: protocol::Question, text: &str, camera: Option<&str>) -> Result<Request> {
    use protocol::Question as Q;
    let text = text.trim();
    let mut fields = match question {
        Q::Label => json!({"task": "label", "labels": parse_labels(text)?}),
        Q::Caption => json!({"task": "caption"}),
        Q::Ground => json!({"task": "ground", "phrase": words(text, "ground the red car")?}),
        Q::Ask => json!({"task": "ask", "question": words(text, "ask how many chairs are there?")?}),
        Q::Check => json!({"task": "check", "sentence": words(text, "check a cat sits on a couch")?}),
        Q::Find => find(text)?,
        Q::Snapshot => json!({"task": "snapshot"}),
    };
    if let Some(camera) = camera {
        fields["camera"] = camera.into();
    }
    Request::from_json(fields.to_string().as_bytes()).map(|(request, _)| request).map_err(|(error, _)| error)
}

fn words<'a>(text: &'a str, example: &str) -> Result<&'a str> {
    if text.is_empty() {
        return Err(Error::new(Code::Usage, "the question has no words", format!("write: {example}")));
    }
    Ok(text)
}

/// `a dog on the sofa since 2d top 3`: the last words may say how old and how many.
fn find(text: &str) -> Result<Value> {
    let mut fields = Map::from_iter([("task".to_owned(), json!("find"))]);
    let mut words: Vec<&str> = text.split_whitespace().collect();
    while let [.., key @ ("since" | "top"), value] = words[..] {
        if *key == *"since" {
            crate::seconds::parse(value).map_err(|cause| {
                Error::new(Code::Usage, cause, "write: find a dog on the sofa since 2d; or quote the words in JSON")
            })?;
            fields.insert("since".to_owned(), value.into());
        } else if let Ok(top) = value.parse::<usize>() {
            fields.insert("top".to_owned(), top.into());
        } else {
            break;
        }
        words.truncate(words.len() - 2);
    }
    if !words.is_empty() {
        fields.insert("words".to_owned(), words.join(" ").into());
    }
    Ok(Value::Object(fields))
}

/// What a reply is on the wire; texts that are too long are cut, and lists to their best eight. `None` for a status,
/// which is a message of its own.
pub(super) fn findings(answer: &Answer) -> Option<Findings> {
    Some(match answer {
        Answer::Labels(labels) => {
            let none = LabelScore { label: Label::None, score: Score::new(labels.none) };
            let mut all: Vec<LabelScore> = labels
                .labels
                .iter()
                .map(|label| LabelScore { label: Label::Is(text(&label.label)), score: Score::new(label.score) })
                .collect();
            let place = all.iter().position(|label| label.score < none.score).unwrap_or(all.len());
            all.insert(place, none);
            Findings::Labels(all.into_iter().take(8).collect())
        }
        Answer::Caption(caption) => {
            Findings::Caption { text: text(&caption.caption), score: Score::new(caption.score) }
        }
        Answer::Boxes(boxes) => Findings::Boxes(
            boxes
                .boxes
                .iter()
                .take(8)
                // The cast brings what is out of range to its ends.
                .map(|found| ScoredBox { rect: found.rect.map(|v| v.round() as u16), score: Score::new(found.score) })
                .collect(),
        ),
        Answer::Words(words) => Findings::Words { text: text(&words.answer), score: Score::new(words.score) },
        Answer::Support(support) => {
            Findings::Verdict { supported: support.supported, score: Score::new(support.score) }
        }
        Answer::Events(found) => Findings::Events(
            found
                .events
                .iter()
                .take(8)
                .map(|found| Found {
                    event: found.event.id.0,
                    unix_ms: found.event.began_ms,
                    score: Score::new(found.matching.unwrap_or(found.event.peak)),
                })
                .collect(),
        ),
        Answer::Snapshot(snapshot) => Findings::Snapshot {
            bytes: snapshot.jpeg.len() as u32,
            width: snapshot.width.min(u16::MAX.into()) as u16,
            height: snapshot.height.min(u16::MAX.into()) as u16,
        },
        Answer::Status(_) => return None,
    })
}

/// A reply as the answer to the question of this id.
pub(super) fn answer(id: u32, reply: &Reply) -> Option<protocol::Answer> {
    let ms = reply.ms.clamp(0.0, u32::MAX.into()).round() as u32;
    findings(&reply.answer).map(|findings| protocol::Answer { id, ms, findings })
}

pub(super) fn failure(id: Option<u32>, error: &Error) -> Failure {
    let code = match error.code() {
        Code::Busy => FailureCode::Busy,
        Code::Unsupported => FailureCode::Unsupported,
        Code::Usage | Code::Text | Code::Input | Code::Picture => FailureCode::Question,
        Code::Camera => FailureCode::Camera,
        _ => FailureCode::Internal,
    };
    let whole = match error.help() {
        "" => error.message().to_owned(),
        help => format!("{}; {help}", error.message()),
    };
    Failure { id, code, text: text(&whole) }
}

pub(super) fn event(event: &Event) -> protocol::Event {
    protocol::Event {
        id: event.id.0,
        trigger: text(&event.trigger),
        phase: match event.phase {
            Phase::Begin => protocol::Phase::Began,
            Phase::Update => protocol::Phase::Updated,
            Phase::End => protocol::Phase::Ended,
        },
        unix_ms: event.at_ms,
        score: Score::new(event.score),
        caption: text(event.caption.as_deref().unwrap_or_default()),
    }
}

pub(super) fn status(status: &Status) -> protocol::Status {
    let any = |state| status.cameras.iter().any(|camera| camera.state == state);
    let least = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    protocol::Status {
        watch: match () {
            () if any(CameraState::Running) && status.armed => protocol::Watch::Watching,
            () if any(CameraState::Running) => protocol::Watch::Paused,
            () if any(CameraState::Opening) => protocol::Watch::Starting,
            () => protocol::Watch::Blind,
        },
        uptime_s: least(status.uptime_s),
        frames: least(status.looks),
        events: least(status.events),
        look_ms: status.look_ms.clamp(0.0, u32::MAX.into()).round() as u32,
        decidegrees: status.celsius.map(|celsius| (celsius * 10.0).round() as i16),
        throttled: status.throttled,
        bundle: text(&status.bundle),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sight;
    use crate::watch::{FindEvents, Question};

    #[test]
    fn the_last_words_of_a_find_say_how_old_and_how_many() {
        let find = |text: &str| match request(protocol::Question::Find, text, None).unwrap().question {
            Question::Find(find) => find,
            other => panic!("{other:?}"),
        };
        let words = |words: &str| Some(words.to_owned());
        assert_eq!(find("a dog on the sofa"), FindEvents { words: words("a dog on the sofa"), ..Default::default() });
        let both = FindEvents { words: words("a dog"), since: words("2d"), top: Some(3), ..Default::default() };
        assert_eq!(find("a dog since 2d top 3"), both);
        assert_eq!(find(" a  dog top 3 since 2d "), both);
        assert_eq!(find("since 2d"), FindEvents { since: words("2d"), ..Default::default() });
        assert_eq!(find("a car on top of"), FindEvents { words: words("a car on top of"), ..Default::default() });
        assert_eq!(find(""), FindEvents::default());
        let error = request(protocol::Question::Find, "a dog since yesterday", None).unwrap_err();
        assert!(error.message().contains("yesterday"), "{error}");
    }

    #[test]
    fn a_question_without_words_is_refused_with_an_example() {
        use protocol::Question as Q;
        for (question, example) in [(Q::Label, "a dog"), (Q::Ground, "ground"), (Q::Ask, "ask"), (Q::Check, "check")] {
            let error = request(question, "  ", None).unwrap_err();
            assert!(error.help().contains(example), "{}", error.help());
        }
        assert_eq!(request(Q::Caption, "", Some("door")).unwrap().camera.as_deref(), Some("door"));
    }

    #[test]
    fn none_of_these_stands_where_its_score_puts_it() {
        let label = |score| sight::Label { label: "l".repeat(60), score };
        let labels = |scores: &[f32], none| {
            let labels = scores.iter().map(|score| label(*score)).collect();
            let Some(Findings::Labels(all)) = findings(&Answer::Labels(sight::Labels { labels, none })) else {
                panic!("labels stay labels")
            };
            all.iter().map(|label| label.label == Label::None).collect::<Vec<_>>()
        };
        assert_eq!(labels(&[0.5, 0.2], 0.3), [false, true, false]);
        assert_eq!(labels(&[0.2], 0.8), [true, false]);
        assert_eq!(labels(&[0.1; 20], 0.0).len(), 8);
    }

    #[test]
    fn boxes_beyond_the_wires_range_are_brought_to_its_ends() {
        let found = sight::Found { rect: [-3.0, 70_000.0, f32::NAN, 10.6], score: 2.0 };
        let Some(Findings::Boxes(boxes)) = findings(&Answer::Boxes(sight::Boxes { boxes: vec![found] })) else {
            panic!("boxes stay boxes")
        };
        assert_eq!((boxes[0].rect, boxes[0].score), ([0, u16::MAX, 0, 11], Score::ONE));
    }
}
