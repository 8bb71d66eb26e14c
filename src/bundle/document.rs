//! The sections of `lookout.toml` as plain types. A [`Document`] is what somebody wrote; a [`Manifest`](super::Manifest)
//! is one that has been checked.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::fields::{self, BundlePath, Digest};

/// A whole `lookout.toml`, to be read or written; see [`Manifest::new`](super::Manifest::new).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Version of the manifest's form; see [`FORMAT`](super::FORMAT).
    #[serde(deserialize_with = "fields::file_format")]
    pub format: u32,
    /// Name of the bundle: 1 to 64 letters, digits and `. _ + -`.
    #[serde(deserialize_with = "fields::name")]
    pub name: String,
    /// Version of the bundle, in the same letters as the name.
    #[serde(deserialize_with = "fields::name")]
    pub version: String,
    /// Licence of the weights.
    #[serde(deserialize_with = "fields::words")]
    pub licence: String,
    /// The models this one learnt from.
    #[serde(default)]
    pub distilled_from: Vec<String>,
    /// What the image tower takes in.
    pub picture: PictureInput,
    /// What both towers give out.
    pub embedding: Embedding,
    /// The image tower's patch tokens. Needed by the decoder and the grounding head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patches: Option<PatchGrid>,
    /// What the text tower takes in. Needed by the text tower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<TextInput>,
    /// How scores become probabilities. Needed by the text tower and the grounding head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// How the decoder speaks. Needed by the decoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaker: Option<Speaker>,
    /// The files, by role.
    pub files: BTreeMap<Role, FileEntry>,
    /// Stored inputs and outputs for `bundle check`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<FileEntry>,
}

/// What a file of a bundle is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The image tower.
    Image,
    /// The text tower.
    Text,
    /// One step of the speaker.
    Decoder,
    /// The grounding head.
    Ground,
    /// The text tower's tokenizer.
    Tokenizer,
    /// The speaker's tokenizer.
    SpeakerTokenizer,
}

impl Role {
    /// Every role, in the order of a manifest.
    pub const ALL: [Role; 6] =
        [Role::Image, Role::Text, Role::Decoder, Role::Ground, Role::Tokenizer, Role::SpeakerTokenizer];

    /// The name in `[files.<name>]`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Image => "image",
            Role::Text => "text",
            Role::Decoder => "decoder",
            Role::Ground => "ground",
            Role::Tokenizer => "tokenizer",
            Role::SpeakerTokenizer => "speaker_tokenizer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `[picture]`: size in pixels, resize rule, and the normalisation `(rgb / 255 - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureInput {
    /// Width in pixels, `1..=2048`.
    #[serde(deserialize_with = "fields::side")]
    pub width: u32,
    /// Height in pixels, `1..=2048`.
    #[serde(deserialize_with = "fields::side")]
    pub height: u32,
    /// How a picture of another shape is made to fit.
    pub rule: TowerRule,
    /// Resampling filter.
    pub filter: TowerFilter,
    /// Subtracted from each channel (red, green, blue), finite.
    #[serde(deserialize_with = "fields::finite3")]
    pub mean: [f32; 3],
    /// Divides each channel, above 0.
    #[serde(deserialize_with = "fields::positive3")]
    pub std: [f32; 3],
}

impl PictureInput {
    /// Floats in the tower's input `[1, 3, height, width]`.
    pub fn floats(&self) -> usize {
        3 * self.width as usize * self.height as usize
    }
}

/// How a picture of another shape is made to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TowerRule {
    /// Each side is scaled by itself.
    Stretch,
    /// The shorter side is scaled to size, then the centre is cut out.
    Crop,
}

/// Resampling filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TowerFilter {
    /// Triangle filter.
    Bilinear,
    /// Cubic filter with a = -0.5.
    Bicubic,
    /// Lanczos filter with a = 3.
    Lanczos,
}

/// `[embedding]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// Floats in an embedding.
    #[serde(deserialize_with = "fields::width")]
    pub width: usize,
}

/// `[patches]`: the image tower's second output, `[1, count, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchGrid {
    /// Patch tokens in a picture.
    #[serde(deserialize_with = "fields::patch_count")]
    pub count: usize,
    /// Floats in a patch token.
    #[serde(deserialize_with = "fields::width")]
    pub width: usize,
    /// Rows and columns; their product is `count`.
    #[serde(deserialize_with = "fields::grid")]
    pub grid: [usize; 2],
}

/// `[text]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextInput {
    /// Most token ids in a sentence, special tokens included.
    #[serde(deserialize_with = "fields::context")]
    pub context: usize,
    /// Token id that fills the rest of the context.
    #[serde(default)]
    pub pad: u32,
    /// Prompts for a label, each with one `{}`.
    #[serde(deserialize_with = "fields::templates")]
    pub templates: Vec<String>,
    /// Name of the network's input.
    #[serde(default = "input_ids", deserialize_with = "fields::words")]
    pub input: String,
    /// True: ids are padded to `context`. False: ids run at their true length, cut at `context`.
    #[serde(default)]
    pub fixed_length: bool,
}

fn input_ids() -> String {
    "input_ids".to_owned()
}

/// `[calibration]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Divides cosines before the softmax over labels, above 0.
    #[serde(deserialize_with = "fields::positive")]
    pub temperature: f32,
    /// Cosine of the class "none of these"; not used with `presence`.
    #[serde(deserialize_with = "fields::finite")]
    pub none_bias: f32,
    /// Prompts of what any picture may show. With `presence` their mean cosine is what is usual for the picture; without
    /// it their share is also "none of these".
    #[serde(default)]
    pub background: Vec<String>,
    /// A sentence is supported with probability `sigmoid(check_scale * cosine + check_bias)`.
    #[serde(deserialize_with = "fields::finite")]
    pub check_scale: f32,
    /// See `check_scale`.
    #[serde(deserialize_with = "fields::finite")]
    pub check_bias: f32,
    /// A box is right with probability `sigmoid(ground_scale * logit + ground_bias)`.
    #[serde(default = "one", deserialize_with = "fields::finite")]
    pub ground_scale: f32,
    /// See `ground_scale`.
    #[serde(default, deserialize_with = "fields::finite")]
    pub ground_bias: f32,
    /// An answer is right with probability `sigmoid(answer_scale * l + answer_bias)`, where `l` are the log-odds that the
    /// speaker gives it.
    #[serde(default = "one", deserialize_with = "fields::finite")]
    pub answer_scale: f32,
    /// See `answer_scale`.
    #[serde(default, deserialize_with = "fields::finite")]
    pub answer_bias: f32,
    /// When a label is there at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<Presence>,
    /// How words are checked one by one. Needs a decoder; without it `check` goes by the cosine alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<WordCheck>,
    /// What a sentence must not name unless it is there. Needs `presence`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub things: Option<Things>,
}

/// `[calibration.presence]`: what a label names is in the picture with probability `sigmoid(scale * cosine + background *
/// b + bias)`, where `b` is the mean cosine of the background prompts, 0 without prompts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presence {
    /// Factor of the label's cosine.
    #[serde(deserialize_with = "fields::finite")]
    pub scale: f32,
    /// Factor of `b`.
    #[serde(deserialize_with = "fields::finite")]
    pub background: f32,
    /// Added to both.
    #[serde(deserialize_with = "fields::finite")]
    pub bias: f32,
}

/// `[calibration.things]`: the probability of a sentence that names such a word is multiplied by `sigmoid(l - least)`, where
/// `l` is the log-odds that the word, as a label, is there by [`Presence`]; of several words the worst counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Things {
    /// Words of one kind (animals, vehicles), at least two a kind, none blank.
    #[serde(deserialize_with = "fields::kinds")]
    pub kinds: Vec<Vec<String>>,
    /// For each kind.
    #[serde(deserialize_with = "fields::finites")]
    pub least: Vec<f32>,
}

/// `[calibration.check]`: a sentence holds with probability `sigmoid(cosine_scale * cosine + cosine_bias) *
/// sigmoid(choice * c + gain * g + bias)`. Each word of a kind gets the log-probability that the speaker gives it among
/// the words of its kind; `c` is the least of a sentence, `g` the least difference that the picture makes, at most 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordCheck {
    /// Factor of the cosine.
    #[serde(deserialize_with = "fields::finite")]
    pub cosine_scale: f32,
    /// Added to it.
    #[serde(deserialize_with = "fields::finite")]
    pub cosine_bias: f32,
    /// Factor of `c`.
    #[serde(deserialize_with = "fields::finite")]
    pub choice: f32,
    /// Factor of `g`.
    #[serde(deserialize_with = "fields::finite")]
    pub gain: f32,
    /// Added to both.
    #[serde(deserialize_with = "fields::finite")]
    pub bias: f32,
    /// The patch token that stands in every place where there is no picture: as long as `[patches] width`.
    #[serde(deserialize_with = "fields::finites")]
    pub blank: Vec<f32>,
    /// Words of one kind (colours, counts, animals), at least two a kind, none blank.
    #[serde(deserialize_with = "fields::kinds")]
    pub kinds: Vec<Vec<String>>,
}

fn one() -> f32 {
    1.0
}

fn bare() -> String {
    "{}".to_owned()
}

fn is_bare(prompt: &str) -> bool {
    prompt == "{}"
}

/// `[speaker]`: the decoder's special tokens, its search, and the shape of its key/value cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speaker {
    /// Token that begins a caption.
    #[serde(deserialize_with = "fields::words")]
    pub start: String,
    /// Token that ends what is said.
    #[serde(deserialize_with = "fields::words")]
    pub end: String,
    /// Token before a question; without it and `answer` the bundle cannot answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// Token between a question and its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Most tokens in what is said.
    #[serde(deserialize_with = "fields::tokens")]
    pub max_tokens: usize,
    /// Width of the beam search, `1..=32`.
    #[serde(deserialize_with = "fields::beams")]
    pub beams: usize,
    /// Exponent of the length that divides a sentence's log-probability.
    #[serde(deserialize_with = "fields::finite")]
    pub length_penalty: f32,
    /// How much the cosine of picture and sentence counts, beside the score by [`Speaker::length_penalty`], when a caption is
    /// chosen among the sentences of the beam search; `0..=100`. 0, as without it: not at all. More needs the role `text`.
    #[serde(default, deserialize_with = "fields::weight", skip_serializing_if = "is_zero")]
    pub cosine_weight: f32,
    /// How much a nat of a sentence's log-probability counts beside its cosine with a picture, when pictures that were found
    /// by words are put into order again; `0..=100`. 0, as without it: they cannot be. More needs the role `text`.
    #[serde(default, deserialize_with = "fields::weight", skip_serializing_if = "is_zero")]
    pub rerank_weight: f32,
    /// Names of things, as labels: where a caption is not supported by the picture, it is called by the one of these that is
    /// surely there. At most 1,000, none blank. They need the role `text`.
    #[serde(default, deserialize_with = "fields::names", skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// What stands around a name when it is compared with a picture: one prompt, as there are many names.
    #[serde(default = "bare", deserialize_with = "fields::template", skip_serializing_if = "is_bare")]
    pub name_prompt: String,
    /// Layers of the decoder.
    #[serde(deserialize_with = "fields::layers")]
    pub layers: usize,
    /// Attention heads of a layer.
    #[serde(deserialize_with = "fields::layers")]
    pub heads: usize,
    /// Floats in a head.
    #[serde(deserialize_with = "fields::width")]
    pub head_width: usize,
}

/// `[files.<role>]` and `[check]`: one file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Where it lies in the bundle.
    pub path: BundlePath,
    /// Its SHA-256.
    pub sha256: Digest,
    /// Its size, `1..=1 GiB`.
    #[serde(deserialize_with = "fields::file_bytes")]
    pub bytes: u64,
    /// How its weights are stored, for people to read (`int8`, `float32`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<String>,
}

fn is_zero(value: &f32) -> bool {
    *value == 0.0
}
