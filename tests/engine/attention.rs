//! The attention operators, through a real ONNX file, against sums in 64-bit floats written out here.

use crate::graph::tower::{HEIGHT, WIDTH, assert_near, graph, load, run};
use crate::graph::{Attribute, Noise};
use lookout::Code;

/// Softmax over `logits[t][..]` of the values, in float.
fn attention(
    tokens: usize,
    heads: usize,
    width: usize,
    logit: impl Fn(usize, usize, usize) -> f64,
    value: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let mut out = Vec::new();
    for t in 0..tokens {
        for d in 0..width {
            let head = d / (width / heads);
            let weights: Vec<f64> = (0..tokens).map(|j| logit(t, head, j).exp()).collect();
            let sum: f64 = weights.iter().enumerate().map(|(j, w)| w * value(j, d)).sum();
            out.push(sum / weights.iter().sum::<f64>());
        }
    }
    out
}

#[test]
fn static_key_attention_is_right_folded_unfolded_and_without_a_query_projection() {
    let mut noise = Noise(13);
    // More keys than tokens: the keys of tokens that are not there have no weight.
    let (tokens, heads, keys, width) = (12, 2, 17, 14);
    let channels = heads * keys + width;
    assert_eq!(tokens * channels, HEIGHT * WIDTH * 3);
    let x = noise.floats(tokens * channels);
    let attributes = || [("heads", Attribute::Int(heads as i64)), ("keys", Attribute::Int(keys as i64))];
    let shape = [1, tokens as i64, channels as i64];
    let found = run(&x, &shape, |g| g.node("LookoutStaticKeyAttention", &["x"], "y", &attributes()), [tokens, width]);
    let at = |t: usize, c: usize| f64::from(x[t * channels + c]);
    let wanted = attention(tokens, heads, width, |t, h, j| at(t, h * keys + j), |t, d| at(t, heads * keys + d));
    assert_near(&found, &wanted, 0.02, "folded");

    let width = channels / 2;
    let head_width = width / heads;
    let (bytes, scale) = (noise.bytes(heads * head_width * keys), vec![0.004; heads * keys]);
    let found = run(
        &x,
        &shape,
        |graph| {
            graph.constant("k", &[heads, head_width, keys], &bytes).constant("s", &[heads, keys], &scale).node(
                "LookoutStaticKeyAttentionUnfolded",
                &["x", "k", "s"],
                "y",
                &attributes(),
            )
        },
        [tokens, width],
    );
    let logit = |t: usize, h: usize, j: usize| {
        let key = |i: usize| f64::from(bytes[(h * head_width + i) * keys + j]);
        (0..head_width).map(|i| at(t, h * head_width + i) * key(i)).sum::<f64>() * f64::from(0.004f32)
    };
    let wanted = attention(tokens, heads, width, logit, |t, d| at(t, width + d));
    assert_near(&found, &wanted, 0.03, "unfolded");

    // The tokens themselves ask, and their doubles are the values.
    let (tokens, width) = (16, 36);
    assert_eq!(tokens * width, HEIGHT * WIDTH * 3);
    let head_width = width / heads;
    let bytes = noise.bytes(heads * head_width * keys);
    let found = run(
        &x,
        &[1, tokens as i64, width as i64],
        |graph| {
            graph
                .constant("k", &[heads, head_width, keys], &bytes)
                .constant("s", &[heads, keys], &scale)
                .node("Add", &["x", "x"], "v", &[])
                .node("LookoutStaticKeyAttentionUnprojected", &["v", "k", "s", "x"], "y", &attributes())
        },
        [tokens, width],
    );
    let at = |t: usize, c: usize| f64::from(x[t * width + c]);
    let logit = |t: usize, h: usize, j: usize| {
        let key = |i: usize| f64::from(bytes[(h * head_width + i) * keys + j]);
        (0..head_width).map(|i| at(t, h * head_width + i) * key(i)).sum::<f64>() * f64::from(0.004f32)
    };
    let wanted = attention(tokens, heads, width, logit, |t, d| 2.0 * at(t, d));
    assert_near(&found, &wanted, 0.03, "unprojected");
}

#[test]
fn full_attention_is_right_with_any_scale_and_with_later_tokens_hidden() {
    let mut noise = Noise(17);
    // As many values as the picture has: all of one block, one token, one channel a head, more tokens than a block.
    for (tokens, heads, width) in [(12, 2, 16), (1, 3, 192), (64, 3, 3), (64, 1, 3), (96, 2, 2)] {
        assert_eq!(tokens * 3 * width, HEIGHT * WIDTH * 3);
        let x = noise.floats(tokens * 3 * width);
        let at = |t: usize, c: usize| f64::from(x[t * 3 * width + c]);
        let head_width = width / heads;
        for (scale, causal) in [(None, None), (Some(2.5f32), Some(0)), (None, Some(1)), (Some(0.1), Some(1))] {
            let mut attributes = vec![("heads", Attribute::Int(heads as i64))];
            attributes.extend(scale.map(|scale| ("scale", Attribute::Float(scale))));
            attributes.extend(causal.map(|causal| ("causal", Attribute::Int(causal))));
            let shape = [1, tokens as i64, 3 * width as i64];
            let found = run(&x, &shape, |g| g.node("LookoutAttention", &["x"], "y", &attributes), [tokens, width]);
            let factor = scale.map_or(1.0 / (head_width as f64).sqrt(), f64::from);
            let logit = |t: usize, h: usize, j: usize| {
                if causal == Some(1) && j > t {
                    return f64::NEG_INFINITY;
                }
                let channel = |i: usize| h * head_width + i;
                let terms = (0..head_width).map(|i| at(t, channel(i)) * at(j, width + channel(i)));
                terms.sum::<f64>() * factor
            };
            let wanted = attention(tokens, heads, width, logit, |t, d| at(t, 2 * width + d));
            assert_near(&found, &wanted, 0.03, &format!("{tokens} {heads} {width} {scale:?} {causal:?}"));
        }
    }
}

#[test]
fn attention_that_cannot_be_is_refused() {
    let refused = |heads: i64, extra: (&str, Attribute), width: usize, cause: &str| {
        let attributes = [("heads", Attribute::Int(heads)), extra];
        let tokens = HEIGHT * WIDTH * 3 / width;
        let file = graph(
            [HEIGHT, WIDTH],
            &[1, tokens as i64, width as i64],
            |g| g.node("LookoutAttention", &["x"], "y", &attributes),
            [tokens, width / 3],
        );
        let error = load(&file, [HEIGHT, WIDTH], [tokens, width / 3], 1).expect_err("it cannot be");
        assert_eq!(error.code(), Code::Engine);
        assert!(error.message().contains("image.onnx") && error.message().contains(cause), "{cause}: {error}");
    };
    refused(0, ("causal", Attribute::Int(0)), 48, "heads is 0");
    refused(5, ("causal", Attribute::Int(0)), 48, "48 channels are not query, key and value for 5 heads");
    refused(2, ("causal", Attribute::Int(2)), 48, "causal is 2");
    refused(2, ("scale", Attribute::Float(f32::NAN)), 48, "scale is NaN");
    refused(2, ("scale", Attribute::Float(0.0)), 48, "scale is 0");
    refused(2, ("scale", Attribute::Float(-1.0)), 48, "scale is -1");
}
