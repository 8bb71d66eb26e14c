//! Made-up events whose embeddings are those of sentences, by the default bundle, each moved a little as the pictures of
//! one scene differ. Real pictures lie elsewhere in that space; what is near to what is like there.

use std::io::{BufWriter, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lookout::bundle::Bundle;
use lookout::engine::Options;
use lookout::sight::Looker;
use serde_json::json;

const DEVICES: u64 = 1_000;
/// The first event, 30 days before the last of a million.
const BASE_MS: u64 = 1_795_000_000_000;
const STEP_MS: u64 = 2_592;
/// Length of what an embedding is moved by: a cosine of 0.89 to its sentence.
const MOVED: f32 = 0.5;

const WHO: &str = "a man/a woman/a child/two people/a group of people/an old man/a girl in a red coat/a boy with a cap/\
    a postman/a cyclist/a jogger/a worker in a yellow vest/a dog/a black dog/a white dog/two dogs/a cat/a grey cat/\
    a bird/a horse/a fox/a red car/a white van/a truck/a bicycle/a motorcycle/a person with an umbrella/a person in a hat";
const DOES: &str = "stands/walks/runs/sits/waits/looks around/jumps/lies down/plays/eats/carries a box/holds a bag/\
    talks/turns around/stops/leaves/comes closer/points at something/drinks water/sleeps";
const WHERE: &str = "at the door/on the beach/in the snow/on the street/in the garden/on a sofa/in the kitchen/\
    on the stairs/in a park/on the grass/next to a wall/in front of a house/under a tree/by the water/on a bench/\
    in a parking lot/at a bus stop/on a bridge/in a field/near the fence/at the gate/in the rain/on the roof/in a hall/\
    on the playground";

/// Numbers that look random, always the same.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

fn sentences() -> Vec<String> {
    let all = WHO.split('/').flat_map(|who| {
        DOES.split('/').flat_map(move |does| WHERE.split('/').map(move |place| format!("{who} {does} {place}")))
    });
    all.collect()
}

fn looker() -> lookout::Result<Looker> {
    Looker::open(Bundle::open(&Bundle::default_path()?)?, Options::default())
}

/// One line for each: the topic, a tabulator, the message with which the event begins.
pub fn print(count: u64) -> Result<(), Box<dyn std::error::Error>> {
    let (looker, sentences) = (looker()?, sentences());
    let known = sentences.iter().map(|text| looker.embed_text(text)).collect::<lookout::Result<Vec<_>>>()?;
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    for n in 0..count {
        let mut noise = Noise(n);
        let which = (noise.next() % sentences.len() as u64) as usize;
        let mut moved: Vec<f32> = known[which].iter().map(|_| noise.float() + noise.float()).collect();
        let length = moved.iter().map(|x| x * x).sum::<f32>().sqrt();
        moved.iter_mut().zip(&known[which]).for_each(|(x, at)| *x = *x / length * MOVED + at);
        let at_ms = BASE_MS + n * STEP_MS;
        let event = json!({
            "id": at_ms * 2_048, "sequence": 0, "phase": "begin", "trigger": "anything", "camera": "front",
            "began_ms": at_ms, "at_ms": at_ms, "score": 0.75, "peak": 0.75, "caption": sentences[which], "size": [640, 480],
            "snapshot": true, "bundle": looker.identity(), "embedding": direction(&moved),
        });
        writeln!(out, "lookout/board-{:04}/event/anything\t{event}", n % DEVICES)?;
    }
    out.flush()?;
    Ok(())
}

/// One JSON object a line: `words`, `bundle`, `embedding`.
pub fn questions(count: usize) -> Result<(), Box<dyn std::error::Error>> {
    const ASKED: &str =
        "somebody/an animal/a vehicle/a puppy/a delivery man/a family/a pet/a stranger/a kid/a neighbour";
    let looker = looker()?;
    let places = WHERE.split('/').flat_map(|place| ASKED.split('/').map(move |who| format!("{who} {place}")));
    for words in places.step_by(3).take(count) {
        let embedding = looker.embed_text(&words)?;
        println!("{}", json!({"words": words, "bundle": looker.identity(), "embedding": embedding}));
    }
    Ok(())
}

/// As lookout sends it with `embeddings = true`.
fn direction(embedding: &[f32]) -> String {
    let most = embedding.iter().fold(0f32, |most, x| most.max(x.abs()));
    STANDARD.encode(embedding.iter().map(|x| (x / most * 127.0).round() as i8 as u8).collect::<Vec<u8>>())
}
