//! The messages. The order of variants and fields is their form on the wire: append, never reorder.

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// A sentence: a question, a caption, an explanation. At most 256 bytes of UTF-8.
pub type Text = String<256>;

/// A short name: a label, a trigger. At most 48 bytes of UTF-8.
pub type Name = String<48>;

/// Most bytes of a picture in one [`Piece`].
pub const MAX_PIECE: usize = 494;

/// Whatever crosses the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Message {
    /// Is anybody there?
    Ping {
        /// Comes back in the [`Message::Pong`].
        nonce: u32,
    },
    /// Here I am.
    Pong {
        /// Of the [`Message::Ping`].
        nonce: u32,
    },
    /// A question about what the camera sees.
    Ask(Ask),
    /// What came of an [`Ask`].
    Answer(Answer),
    /// Something began or ended before the camera. Nobody asked.
    Event(Event),
    /// How the lookout is doing. Follows a [`Message::Pong`].
    Status(Status),
    /// A part of a snapshot's JPEG file.
    Piece(Piece),
    /// Something could not be done.
    Failure(Failure),
    /// Parts of a snapshot are wanted; [`Message::Piece`]s answer.
    Fetch(Fetch),
    /// Size and checksum of a whole JPEG file. From the lookout it comes behind a [`Findings::Snapshot`]; to the lookout
    /// it offers a picture, whose [`Message::Piece`]s follow.
    Picture(Picture),
    /// How much of an offered picture has arrived.
    Have(Have),
    /// A question about something other than the first camera's newest picture.
    AskAbout(AskAbout),
}

/// A question about what the camera sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ask {
    /// Chosen by who asks; comes back in whatever answers.
    pub id: u32,
    /// What kind of question.
    pub question: Question,
    /// Labels separated by commas, a phrase, a question or a sentence; empty for a caption or a snapshot.
    pub text: Text,
}

/// What kind of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Question {
    /// Which of these labels fits?
    Label,
    /// What is to be seen?
    Caption,
    /// Where is this phrase?
    Ground,
    /// A question in words, answered in words.
    Ask,
    /// Does the picture support this sentence?
    Check,
    /// Which past events match these words?
    Find,
    /// The picture itself; answered by [`Findings::Snapshot`] and [`Message::Picture`], fetched by [`Message::Fetch`].
    Snapshot,
}

/// What came of an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Answer {
    /// Of the [`Ask`].
    pub id: u32,
    /// Milliseconds from frame to answer.
    pub ms: u32,
    /// The answer itself.
    pub findings: Findings,
}

/// The answer to each kind of question, best first where there are several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::large_enum_variant, reason = "there is no heap to box the large ones on")]
pub enum Findings {
    /// To [`Question::Label`].
    Labels(Vec<LabelScore, 8>),
    /// To [`Question::Caption`].
    Caption {
        /// The caption.
        text: Text,
        /// How sure.
        score: Score,
    },
    /// To [`Question::Ground`].
    Boxes(Vec<ScoredBox, 8>),
    /// To [`Question::Ask`].
    Words {
        /// The answer.
        text: Text,
        /// How sure.
        score: Score,
    },
    /// To [`Question::Check`].
    Verdict {
        /// Whether the picture supports the sentence.
        supported: bool,
        /// How sure that it does.
        score: Score,
    },
    /// To [`Question::Find`].
    Events(Vec<Found, 8>),
    /// To [`Question::Snapshot`]. The same [`Ask::id`] gives the same picture for ten seconds, so that a question may be
    /// repeated while its pieces are fetched.
    Snapshot {
        /// Size of the file in bytes.
        bytes: u32,
        /// Width in pixels.
        width: u16,
        /// Height in pixels.
        height: u16,
    },
}

/// A label and how well it fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LabelScore {
    /// The label, or nothing for "none of these".
    pub label: Label,
    /// Its calibrated probability.
    pub score: Score,
}

/// A label, or the answer that none of them fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Label {
    /// None of the labels that were asked for.
    None,
    /// One of them.
    Is(Name),
}

/// A box in pixels of the original picture, with the origin at the top left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ScoredBox {
    /// `[x, y, width, height]`
    pub rect: [u16; 4],
    /// How sure.
    pub score: Score,
}

/// A past event that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Found {
    /// Of the [`Event`].
    pub event: u64,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub unix_ms: u64,
    /// How well it matches.
    pub score: Score,
}

/// Something began or ended before the camera.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Event {
    /// The same when it begins and when it ends; never used again.
    pub id: u64,
    /// Which trigger.
    pub trigger: Name,
    /// Whether it began, goes on or ended.
    pub phase: Phase,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub unix_ms: u64,
    /// How sure.
    pub score: Score,
    /// What was seen, or empty.
    pub caption: Text,
}

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Phase {
    /// It began.
    Began,
    /// It ended.
    Ended,
    /// It goes on, and something worth telling changed.
    Updated,
}

/// How the lookout is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Status {
    /// What it is doing.
    pub watch: Watch,
    /// Seconds since it started.
    pub uptime_s: u32,
    /// Frames looked at since then.
    pub frames: u32,
    /// Events since then.
    pub events: u32,
    /// Milliseconds of the last look.
    pub look_ms: u32,
    /// Temperature of the processor in tenths of a degree Celsius, where it can be read.
    pub decidegrees: Option<i16>,
    /// Whether the processor is being slowed for heat or low voltage.
    pub throttled: bool,
    /// Identity of the model bundle.
    pub bundle: Text,
}

/// What a lookout is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Watch {
    /// Not ready yet.
    Starting,
    /// Watching.
    Watching,
    /// Told not to watch.
    Paused,
    /// The camera gives no frames.
    Blind,
}

/// A part of a JPEG file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Piece {
    /// Of the [`Ask`] for the snapshot, or of the [`Picture`] that is sent.
    pub id: u32,
    /// Where the part begins in the file.
    pub offset: u32,
    /// Size of the whole file in bytes.
    pub total: u32,
    /// The part.
    pub data: Vec<u8, MAX_PIECE>,
}

/// Parts of a snapshot are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Fetch {
    /// Of the [`Ask`] for the snapshot.
    pub id: u32,
    /// Where the first part begins in the file.
    pub offset: u32,
    /// Most bytes in each part, [`MAX_PIECE`] at most. The noisier the line, the shorter the parts that get through.
    pub size: u16,
    /// How many parts, at most. None asks for the [`Picture`] again.
    pub pieces: u8,
}

/// Size and checksum of a whole JPEG file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Picture {
    /// Of the [`Ask`] for the snapshot; for a picture that is sent chosen by who sends.
    pub id: u32,
    /// Size in bytes.
    pub bytes: u32,
    /// CRC-32/ISO-HDLC of the file, see [`checksum`](super::checksum).
    pub crc: u32,
}

/// How much of an offered picture has arrived. Answers the [`Picture`] and each [`Piece`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Have {
    /// Of the [`Picture`].
    pub id: u32,
    /// Bytes from the start of the file without a gap: where the next piece must begin. All of them: the file is whole,
    /// and its checksum was right.
    pub bytes: u32,
}

/// A question about something other than the first camera's newest picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AskAbout {
    /// What it is about.
    pub about: About,
    /// The question.
    pub ask: Ask,
}

/// What a question is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum About {
    /// The [`Picture`] of this id, all of which was sent. The newest one is kept.
    Picture(u32),
    /// The newest picture of this camera.
    Camera(Name),
}

/// Something could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Failure {
    /// Of the [`Ask`] that failed, if it was one.
    pub id: Option<u32>,
    /// What kind of failure.
    pub code: FailureCode,
    /// What went wrong and what to try next.
    pub text: Text,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FailureCode {
    /// Another question is still being answered; ask again.
    Busy,
    /// The bundle lacks the part that this question needs.
    Unsupported,
    /// The question makes no sense, such as an empty list of labels.
    Question,
    /// The camera gives no frames.
    Camera,
    /// A frame was damaged or unknown.
    Frame,
    /// Something failed within the lookout; its log says more.
    Internal,
}

/// A probability in steps of 1/10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(try_from = "u16", into = "u16")]
pub struct Score(u16);

impl Score {
    /// Certain.
    pub const ONE: Score = Score(10_000);

    /// The nearest step to `probability`, which is brought into `0..=1`; not-a-number counts as 0.
    pub fn new(probability: f32) -> Self {
        // The cast turns not-a-number into 0.
        Self((probability.clamp(0.0, 1.0) * 10_000.0 + 0.5) as u16)
    }

    /// `0..=1`
    pub fn probability(self) -> f32 {
        f32::from(self.0) / 10_000.0
    }
}

impl TryFrom<u16> for Score {
    type Error = &'static str;

    fn try_from(steps: u16) -> Result<Self, Self::Error> {
        if steps <= 10_000 { Ok(Self(steps)) } else { Err("a score above 1") }
    }
}

impl From<Score> for u16 {
    fn from(score: Score) -> Self {
        score.0
    }
}

/// As much of `whole` as fits in `N` bytes, cut between characters.
pub fn text<const N: usize>(whole: &str) -> String<N> {
    let mut end = whole.len().min(N);
    while !whole.is_char_boundary(end) {
        end -= 1;
    }
    // The slice is at most N bytes long, so it fits.
    String::try_from(&whole[..end]).unwrap_or_default()
}
