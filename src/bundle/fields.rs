//! Single values of a manifest. Each refuses what it cannot hold while it is parsed, so that the error carries the line.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest size of a file in a bundle, in bytes (1 GiB).
pub(super) const MAX_FILE_BYTES: u64 = 1 << 30;

const MAX_PATH_BYTES: usize = 255;

/// A path of plain names, relative to the bundle, separated by `/`. It can name nothing outside the folder (links are a
/// matter of opening).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BundlePath(String);

impl BundlePath {
    /// The path as written, with `/` between names.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BundlePath {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let cause = if path.is_empty() {
            "it is empty"
        } else if path.len() > MAX_PATH_BYTES {
            "it is longer than 255 bytes"
        } else if path.starts_with('/') {
            "it is absolute"
        } else if path.split('/').any(|name| name == "..") {
            "it leaves the folder by `..`"
        } else if path.split('/').any(|name| name.is_empty() || name == ".") {
            "it has an empty name or a `.` in it"
        } else if path.contains(['\\', ':']) || path.chars().any(char::is_control) {
            "it has a `\\`, a `:` or a control character in it"
        } else {
            return Ok(Self(path.to_owned()));
        };
        let shown: String = path.chars().take(60).collect();
        Err(format!("the path {shown:?} is refused: {cause}"))
    }
}

impl TryFrom<String> for BundlePath {
    type Error = String;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        path.parse()
    }
}

impl From<BundlePath> for String {
    fn from(path: BundlePath) -> Self {
        path.0
    }
}

impl fmt::Display for BundlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SHA-256, written as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(hex: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("a SHA-256 is 64 hexadecimal digits, this is {:?}", hex.chars().take(70).collect::<String>());
        let digits = hex.as_bytes();
        if digits.len() != 64 {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| (pair[at] as char).to_digit(16).ok_or_else(wrong);
            *byte = (digit(0)? * 16 + digit(1)?) as u8;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// `LOW..=HIGH`, both ends included.
fn count<'de, D: Deserializer<'de>, const LOW: u64, const HIGH: u64>(deserializer: D) -> Result<u64, D::Error> {
    let value = i64::deserialize(deserializer)?;
    match u64::try_from(value) {
        Ok(value) if (LOW..=HIGH).contains(&value) => Ok(value),
        _ => Err(D::Error::custom(format!("{value} is out of range, expected {LOW} to {HIGH}"))),
    }
}

macro_rules! counts {
    ($($name:ident: $kind:ty, $low:literal to $high:expr;)*) => {$(
        pub(super) fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$kind, D::Error> {
            count::<D, $low, { $high }>(deserializer).map(|value| value as $kind)
        }
    )*};
}

counts! {
    side: u32, 1 to 2048;
    width: usize, 1 to 16_384;
    patch_count: usize, 1 to 65_536;
    context: usize, 1 to 4096;
    tokens: usize, 1 to 1024;
    beams: usize, 1 to 32;
    layers: usize, 1 to 128;
    file_bytes: u64, 1 to MAX_FILE_BYTES;
    file_format: u32, 1 to 4_294_967_295;
}

/// Exactly `N` values. TOML's own arrays would let more pass.
fn exactly<'de, D: Deserializer<'de>, T: Deserialize<'de>, const N: usize>(
    deserializer: D,
) -> Result<[T; N], D::Error> {
    let values = Vec::<T>::deserialize(deserializer)?;
    values.try_into().map_err(|values: Vec<T>| D::Error::custom(format!("expected {N} values, found {}", values.len())))
}

/// Rows and columns of the patch grid, each `1..=2048`.
pub(super) fn grid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[usize; 2], D::Error> {
    #[derive(Deserialize)]
    struct Side(#[serde(deserialize_with = "side")] u32);
    exactly::<D, Side, 2>(deserializer).map(|sides| sides.map(|side| side.0 as usize))
}

/// A number that is neither infinite nor not-a-number.
pub(super) fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    let value = f32::deserialize(deserializer)?;
    if value.is_finite() { Ok(value) } else { Err(D::Error::custom(format!("{value} is not a finite number"))) }
}

/// Finite numbers, any count of them.
pub(super) fn finites<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    #[derive(Deserialize)]
    struct Finite(#[serde(deserialize_with = "finite")] f32);
    Ok(Vec::<Finite>::deserialize(deserializer)?.into_iter().map(|value| value.0).collect())
}

/// Kinds of at least two words, none blank.
pub(super) fn kinds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<String>>, D::Error> {
    let kinds = Vec::<Vec<String>>::deserialize(deserializer)?;
    if let Some(short) = kinds.iter().find(|words| words.len() < 2) {
        return Err(D::Error::custom(format!("the kind {short:?} has fewer than two words")));
    }
    match kinds.iter().flatten().any(|word| word.trim().is_empty()) {
        true => Err(D::Error::custom("a word is blank")),
        false => Ok(kinds),
    }
}

/// A finite number above 0.
pub(super) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    let value = finite(deserializer)?;
    if value > 0.0 { Ok(value) } else { Err(D::Error::custom(format!("{value} is not above 0"))) }
}

/// `0..=100`.
pub(super) fn weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    let value = finite(deserializer)?;
    match (0.0..=100.0).contains(&value) {
        true => Ok(value),
        false => Err(D::Error::custom(format!("{value} is out of range, expected 0 to 100"))),
    }
}

/// Three finite numbers.
pub(super) fn finite3<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[f32; 3], D::Error> {
    #[derive(Deserialize)]
    struct Finite(#[serde(deserialize_with = "finite")] f32);
    exactly::<D, Finite, 3>(deserializer).map(|values| values.map(|value| value.0))
}

/// Three finite numbers above 0.
pub(super) fn positive3<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[f32; 3], D::Error> {
    #[derive(Deserialize)]
    struct Positive(#[serde(deserialize_with = "positive")] f32);
    exactly::<D, Positive, 3>(deserializer).map(|values| values.map(|value| value.0))
}

/// A name that is safe in a file name, a topic or a log line: `A-Z a-z 0-9 . _ + -`, at most 64 bytes.
pub(super) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    if !name.is_empty() && name.len() <= 64 && name.bytes().all(plain) {
        Ok(name)
    } else {
        let shown: String = name.chars().take(70).collect();
        Err(D::Error::custom(format!("{shown:?} is not a name of 1 to 64 letters, digits and `.`, `_`, `+`, `-`")))
    }
}

/// Text that is not blank.
pub(super) fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.trim().is_empty() { Err(D::Error::custom("it is blank")) } else { Ok(text) }
}

/// At most 1,000 names, none blank.
pub(super) fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    const MOST: usize = 1_000;
    let names = Vec::<String>::deserialize(deserializer)?;
    match names.iter().any(|name| name.trim().is_empty()) {
        true => Err(D::Error::custom("a name is blank")),
        false if names.len() > MOST => {
            Err(D::Error::custom(format!("there are {} names, at most {MOST}", names.len())))
        }
        false => Ok(names),
    }
}

/// At least one prompt template, each with one `{}` where the label goes.
pub(super) fn templates<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let templates = Vec::<String>::deserialize(deserializer)?;
    if templates.is_empty() {
        return Err(D::Error::custom("there is no template, expected at least \"{}\""));
    }
    templates.into_iter().map(one_place).collect()
}

/// A prompt template with one `{}` in it.
pub(super) fn template<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    one_place(String::deserialize(deserializer)?)
}

fn one_place<E: serde::de::Error>(template: String) -> Result<String, E> {
    match template.matches("{}").count() {
        1 => Ok(template),
        _ => Err(E::custom(format!("the template {template:?} must have exactly one `{{}}` in it"))),
    }
}
