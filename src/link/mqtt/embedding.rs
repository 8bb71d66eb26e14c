//! An embedding as part of a message about an event.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::watch::Event;

/// A message about an event, with the embedding of its picture.
#[derive(Serialize)]
pub(super) struct Embedded<'a> {
    #[serde(flatten)]
    pub event: &'a Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<String>,
}

/// The direction of `embedding` in base64: one signed byte for each number, the largest at 127 or -127. Its length is lost,
/// which no cosine needs. 384 numbers are 512 characters.
pub(super) fn encode(embedding: &[f32]) -> String {
    let most = embedding.iter().fold(0f32, |most, value| most.max(value.abs())).max(f32::MIN_POSITIVE);
    let bytes: Vec<u8> = embedding.iter().map(|value| (value / most * 127.0).round() as i8 as u8).collect();
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_back_points_where_the_embedding_pointed() {
        let embedding: Vec<f32> = (0..384).map(|n| ((n * n % 101) as f32 / 50.0 - 1.0) / 11.0).collect();
        let text = encode(&embedding);
        assert_eq!(text.len(), 512);
        let back: Vec<f32> = STANDARD.decode(text).unwrap().into_iter().map(|byte| f32::from(byte as i8)).collect();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let cosine = dot(&embedding, &back) / (dot(&embedding, &embedding) * dot(&back, &back)).sqrt();
        assert!(cosine > 0.9999, "{cosine}");
        assert_eq!(encode(&[0.0; 3]), STANDARD.encode([0; 3]));
    }
}
