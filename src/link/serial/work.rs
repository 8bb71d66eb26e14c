//! Those who ask the desk, so that the reader never waits for it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select_biased};
use serde_json::Value;

use crate::protocol::{About, Ask, Message, Question};
use crate::watch::{self, Answer, Request};
use crate::{Code, Error, Result};

use super::command::Command;
use super::lines;
use super::session::{Session, failed};
use super::wire;

/// Questions that wait in each form; more are refused.
pub(super) const WAITING: usize = 8;

/// Questions in frames that are asked at the same time. Lines are answered one after the other, in their order.
const FRAME_DESKS: usize = 2;

/// How long an answer waits for room on the way out.
const ROOM: Duration = Duration::from_secs(5);

/// Something to ask the desk.
pub(super) enum Job {
    /// What a line asks for.
    Line(Arc<Session>, Command),
    /// A line that was not understood. It waits its turn, so that answers come in the order of the lines.
    Refuse(Arc<Session>, Error, Option<Value>),
    /// A question in a frame, what it is about, and the picture where it is about one that was sent.
    Ask(Arc<Session>, Ask, Option<About>, Option<Arc<[u8]>>),
}

/// Where questions wait.
#[derive(Clone)]
pub(super) struct Desks {
    pub lines: Sender<Job>,
    pub frames: Sender<Job>,
}

/// Starts those who ask. They end when `stop` is closed.
pub(super) fn start(patience: Duration, stop: &Receiver<()>) -> Result<(Desks, Vec<JoinHandle<()>>)> {
    let (lines, line_jobs) = bounded(WAITING);
    let (frames, frame_jobs) = bounded(WAITING);
    let jobs = std::iter::once(line_jobs).chain(std::iter::repeat_n(frame_jobs, FRAME_DESKS));
    let threads = jobs.map(|jobs| {
        let stop = stop.clone();
        super::spawn("serial-ask", move || work(&jobs, &stop, patience))
    });
    Ok((Desks { lines, frames }, threads.collect::<Result<_>>()?))
}

fn work(jobs: &Receiver<Job>, stop: &Receiver<()>, patience: Duration) {
    loop {
        select_biased! {
            recv(stop) -> _ => return,
            recv(jobs) -> job => match job {
                Ok(job) => job.run(patience),
                Err(_) => return,
            },
        }
    }
}

impl Job {
    fn run(self, patience: Duration) {
        match self {
            Job::Line(session, _) | Job::Refuse(session, ..) | Job::Ask(session, ..) if session.has_ended() => {}
            Job::Refuse(session, error, id) => session.say(lines::error(&error, id.as_ref()), ROOM),
            Job::Line(session, Command::Ask(request, id)) => {
                let said = match ask(&session, &request, patience) {
                    Ok(reply) => {
                        if let Answer::Snapshot(snapshot) = &reply.answer {
                            session.keep_snapshot(snapshot.jpeg.clone());
                        }
                        lines::reply(&reply, id.as_ref())
                    }
                    Err(error) => lines::error(&error, id.as_ref()),
                };
                session.say(said, ROOM);
            }
            Job::Line(session, command) => {
                let said = other(&session, command).unwrap_or_else(|error| lines::error(&error, None));
                session.say(said, ROOM);
            }
            Job::Ask(session, asked, about, picture) => {
                let messages = answer(&session, &asked, about.as_ref(), picture, patience)
                    .unwrap_or_else(|error| vec![failed(Some(asked.id), &error)]);
                session.answered(about.as_ref(), &asked, &messages, ROOM);
            }
        }
    }
}

/// What a line asked for that is no question.
fn other(session: &Session, command: Command) -> Result<Vec<u8>> {
    Ok(match command {
        Command::Events(wanted) => {
            session.tell_events(wanted);
            lines::events(wanted)
        }
        Command::Triggers => lines::triggers(&session.desk.triggers()),
        Command::Arm(armed) => {
            session.desk.arm(armed);
            lines::armed(armed)
        }
        Command::Camera(camera) => lines::camera(camera.as_deref()),
        Command::Part(offset) => {
            let no = |message: String| Error::new(Code::Usage, message, "write: snapshot, then: snapshot get 0");
            let jpeg = session.snapshot().ok_or_else(|| no("there is no snapshot yet".to_owned()))?;
            lines::part(&jpeg, offset).ok_or_else(|| no(format!("the snapshot has only {} bytes", jpeg.len())))?
        }
        // The session answers the others itself.
        _ => Vec::new(),
    })
}

fn answer(
    session: &Session,
    asked: &Ask,
    about: Option<&About>,
    picture: Option<Arc<[u8]>>,
    patience: Duration,
) -> Result<Vec<Message>> {
    let camera = match about {
        Some(About::Camera(camera)) => Some(camera.as_str()),
        Some(About::Picture(_)) | None => None,
    };
    let mut request = wire::request(asked.question, &asked.text, camera)?;
    request.picture = picture;
    let reply = ask(session, &request, patience)?;
    let answer = wire::answer(asked.id, &reply)
        .ok_or_else(|| Error::new(Code::Engine, "the answer is of another kind than the question", "see the log"))?;
    let mut messages = vec![Message::Answer(answer.clone())];
    if let (Question::Snapshot, Answer::Snapshot(snapshot)) = (asked.question, &reply.answer) {
        messages.push(session.took(answer, snapshot.jpeg.clone()));
    }
    Ok(messages)
}

fn ask(session: &Session, request: &Request, patience: Duration) -> Result<watch::Reply> {
    session.desk.ask(request, patience)
}
