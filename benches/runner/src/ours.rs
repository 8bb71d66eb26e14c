//! `ours THREADS`: lookout's own library behind the line protocol; `MODEL` is a bundle. `ours kernel` prints the name of
//! the kernel in use.

mod serve;

use std::path::Path;

use lookout::bundle::Bundle;
use lookout::engine::{Decoder, ImageTower, Options, Patches, TextTower, kernel_name};
use lookout::text::Speaker;
use serve::{Fallible, Loaded, Order};

fn main() -> Fallible<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("kernel") => println!("{}", kernel_name()),
        Some(threads) => serve::serve(threads.parse()?, load)?,
        None => return Err("usage: ours THREADS, or ours kernel".into()),
    }
    Ok(())
}

fn load(order: &Order) -> Fallible<Box<dyn Loaded>> {
    let bundle = Bundle::open(Path::new(order.model)).map_err(told)?;
    let options = Options { threads: order.threads };
    Ok(match order.role {
        "image" => {
            let tower = ImageTower::load(&bundle, &options).map_err(told)?;
            Box::new(Image { tower, pixels: order.floats()? })
        }
        "text" => {
            let tower = TextTower::load(&bundle, &options).map_err(told)?;
            Box::new(Text { tower, ids: order.ids()?.into_iter().map(u32::try_from).collect::<Result<_, _>>()? })
        }
        "decoder" => {
            let grid = bundle.manifest().patches().ok_or("the bundle has no patches")?;
            let patches = Patches { count: grid.count, width: grid.width, data: order.floats()?.into() };
            let decoder = Decoder::load(&bundle, &options).map_err(told)?;
            Box::new(Caption { decoder, patches, start: order.input(1)?.parse()?, words: order.input(2)?.parse()? })
        }
        role => return Err(format!("{role} is not a role").into()),
    })
}

struct Image {
    tower: ImageTower,
    pixels: Vec<f32>,
}

impl Loaded for Image {
    fn run(&mut self) -> Fallible<Vec<f32>> {
        Ok(self.tower.encode(&self.pixels).map_err(told)?.embedding)
    }
}

struct Text {
    tower: TextTower,
    ids: Vec<u32>,
}

impl Loaded for Text {
    fn run(&mut self) -> Fallible<Vec<f32>> {
        Ok(self.tower.encode_ids(&self.ids).map_err(told)?)
    }
}

/// A fixed number of words, whether or not the sentence ends before.
struct Caption {
    decoder: Decoder,
    patches: Patches,
    start: u32,
    words: usize,
}

impl Loaded for Caption {
    fn run(&mut self) -> Fallible<Vec<f32>> {
        let attending = self.decoder.attend(&self.patches);
        let mut state = attending.start().map_err(told)?;
        let (mut token, mut said) = (self.start, Vec::new());
        for _ in 0..self.words {
            let logits = attending.step(&mut state, token).map_err(told)?;
            let best = (0..).zip(&logits).reduce(|best, next| if next.1 > best.1 { next } else { best });
            token = best.ok_or("no logits")?.0;
            said.push(token as f32);
        }
        Ok(said)
    }
}

fn told(error: lookout::Error) -> String {
    error.to_string()
}
