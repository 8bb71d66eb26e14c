//! The tokenizer gives the ids of the reference, on 10,000 sentences.
//!
//! The sentences and the reference's answers are made by `models/recipe/fixtures/text.py`.

use std::path::PathBuf;

use lookout::Code;
use lookout::text::{MAX_TEXT_BYTES, Tokenizer};
use serde_json::Value;

#[test]
fn ten_thousand_sentences_have_the_references_ids() {
    let tokenizer = tokenizer();
    let rows = rows("sentences.jsonl");
    assert_eq!(rows.len(), 10_000);
    for row in &rows {
        let pattern = row[0].as_str().unwrap();
        let text = pattern.repeat(row[1].as_u64().unwrap() as usize);
        let shown: String = text.chars().take(60).collect();
        let ids = tokenizer.encode(&text).unwrap();
        if let Some(expected) = row.get(4) {
            assert_eq!(serde_json::json!(ids), *expected, "{shown:?}");
        }
        assert_eq!(ids.len() as u64, row[2].as_u64().unwrap(), "{shown:?}: {ids:?}");
        assert_eq!(fingerprint(&ids), row[3].as_str().unwrap(), "{shown:?}: {ids:?}");
        let plain = tokenizer.encode_plain(&text).unwrap();
        assert_eq!(plain[..], ids[1..ids.len() - 1], "{shown:?}");
    }
}

#[test]
fn ids_decode_to_the_references_text() {
    let tokenizer = tokenizer();
    let rows = rows("decoded.jsonl");
    assert!(rows.len() >= 20);
    for row in rows {
        let ids: Vec<u32> = row[0].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        assert_eq!(tokenizer.decode(&ids).unwrap(), row[1].as_str().unwrap().trim(), "{ids:?}");
    }
    assert_eq!(tokenizer.decode(&[u32::MAX, 1037, 3899, 102]).unwrap(), "a dog");
}

#[test]
fn truncation_and_padding_in_the_file_are_ignored() {
    let mut json: Value = serde_json::from_slice(&bytes()).unwrap();
    json["truncation"] =
        serde_json::json!({"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = serde_json::json!({"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
    let with = Tokenizer::from_bytes(json.to_string().as_bytes(), "tokenizer.json").unwrap();
    let plain = tokenizer();
    for text in ["a dog", "one two three four five six seven eight nine ten eleven twelve"] {
        assert_eq!(with.encode(text).unwrap(), plain.encode(text).unwrap());
    }
}

#[test]
fn a_text_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let tokenizer = tokenizer();
    assert!(tokenizer.encode(&"x".repeat(MAX_TEXT_BYTES)).is_ok());
    for refused in
        [tokenizer.encode(&"x".repeat(MAX_TEXT_BYTES + 1)), tokenizer.encode_plain(&"x".repeat(MAX_TEXT_BYTES + 1))]
    {
        let error = refused.unwrap_err();
        assert_eq!(error.code(), Code::Text);
        assert!(error.message().contains("65537") && error.message().contains("65536"), "{error}");
    }
}

#[test]
fn a_damaged_tokenizer_is_an_error_that_names_it() {
    let good = bytes();
    let text = String::from_utf8(good.clone()).unwrap();
    let broken: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"null".to_vec(),
        b"{}".to_vec(),
        b"[1, 2".to_vec(),
        vec![0xFF; 100],
        good[..good.len() / 2].to_vec(),
        text.replace("\"WordPiece\"", "\"Wordless\"").into_bytes(),
        text.replace("\"[PAD]\":0", "\"[PAD]\":-1").into_bytes(),
        text.replace("\"special_tokens\":{\"[CLS]\"", "\"special_tokens\":{\"[CLZ]\"").into_bytes(),
        text.replace("\"version\":\"1.0\"", "\"version\":\"9.0\"").into_bytes(),
    ];
    for json in broken {
        let error = Tokenizer::from_bytes(&json, "broken/tokenizer.json").expect_err("a damaged tokenizer");
        assert_eq!(error.code(), Code::Text);
        assert!(error.message().contains("broken/tokenizer.json"), "{error}");
    }
}

#[test]
fn a_tokenizer_cut_or_changed_anywhere_never_panics() {
    let small = br###"{"version":"1.0","added_tokens":[{"id":1,"content":"[CLS]","single_word":false,"lstrip":false,
        "rstrip":false,"normalized":false,"special":true}],"normalizer":{"type":"BertNormalizer","clean_text":true,
        "handle_chinese_chars":true,"strip_accents":null,"lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},
        "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},
        {"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},
        {"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"[CLS]":{"id":"[CLS]","ids":[1],"tokens":["[CLS]"]}}},
        "decoder":{"type":"WordPiece","prefix":"##","cleanup":true},"model":{"type":"WordPiece","unk_token":"[UNK]",
        "continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{"[UNK]":0,"[CLS]":1,"a":2,"##b":3}}}"###;
    let whole = Tokenizer::from_bytes(small, "small").unwrap();
    assert_eq!(whole.encode("ab c a").unwrap(), [1, 2, 3, 0, 2]);
    assert_eq!((whole.vocab_size(), whole.id("##b"), whole.id("zebra")), (4, Some(3), None));
    let mut refused = 0;
    for at in 0..small.len() {
        for byte in [b'"', b'0', b'}', b'x'] {
            let mut changed = small.to_vec();
            changed[at] = byte;
            match Tokenizer::from_bytes(&changed, "changed") {
                // Whether a text can be encoded depends on what was changed; an answer of either kind will do.
                Ok(tokenizer) => drop(tokenizer.encode("ab c a").and_then(|ids| tokenizer.decode(&ids))),
                Err(_) => refused += 1,
            }
        }
        assert!(Tokenizer::from_bytes(&small[..at], "cut").is_err(), "cut at {at}");
    }
    assert!(refused > small.len());
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn bytes() -> Vec<u8> {
    std::fs::read(root().join("models/default/tokenizer.json")).unwrap()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_bytes(&bytes(), "tokenizer.json").unwrap()
}

fn rows(name: &str) -> Vec<Vec<Value>> {
    let path = root().join("tests/fixtures/text").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// FNV-1a, 64 bits, of the ids as little-endian u32.
fn fingerprint(ids: &[u32]) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    format!("{:016x}", ids.iter().flat_map(|id| id.to_le_bytes()).fold(0xCBF2_9CE4_8422_2325, step))
}
