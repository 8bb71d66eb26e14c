//! A question answered from a view.

use std::time::Instant;

use crate::camera::Frame;
use crate::sight::{GroundOptions, Looker, View};
use crate::{Code, Error, Result};

use super::question::{Answer, Question, Reply, Request};

/// Most boxes in one answer.
const MOST_BOXES: usize = 100;

/// Answers what is about a picture; the rest is answered elsewhere. The question was taken up at `begin`.
pub(super) fn reply(
    looker: &Looker,
    request: &Request,
    frame: Option<&Frame>,
    view: &View,
    begin: Instant,
) -> Result<Reply> {
    let answer = match &request.question {
        Question::Label { labels } => Answer::Labels(looker.label(view, labels)?),
        Question::Caption {} => Answer::Caption(looker.caption(view, &Default::default())?),
        Question::Ground { phrase, top, threshold } => {
            let options = GroundOptions { threshold: *threshold, top: (*top).min(MOST_BOXES) };
            Answer::Boxes(looker.ground(view, phrase, &options)?)
        }
        Question::Ask { question } => Answer::Words(looker.ask(view, question, &Default::default())?),
        Question::Check { sentence } => Answer::Support(looker.check(view, sentence)?),
        Question::Find(_) | Question::Snapshot {} | Question::Status {} => {
            let message = format!("`{}` is not about what a picture shows", request.question.task());
            return Err(Error::new(Code::Usage, message, "ask the desk"));
        }
    };
    Ok(Reply {
        task: request.question.task(),
        camera: frame.map(|frame| frame.camera.to_string()),
        at_ms: frame.map(|frame| frame.unix_ms),
        bundle: looker.identity().to_owned(),
        answer,
        ms: begin.elapsed().as_secs_f64() * 1e3,
    })
}
