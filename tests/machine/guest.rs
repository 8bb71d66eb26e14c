//! What runs inside the emulated machine of `tests/machine/run.sh`: a camera, GPIO, a card and a serial line of a real kernel.
//!
//! `machine NAME...` runs only these checks.
//! `machine adapter FILE` is a GPIO adapter alone, for `tests/machine/systemd.sh`: it keeps in FILE how its lines stand.

mod adapter;
mod camera;
mod card;
mod gpio;
mod serial;

use std::time::{Duration, Instant};

use adapter::Adapter;

type Check = (&'static str, fn());

const LONG: Duration = Duration::from_secs(60);

fn main() {
    if let [_, what, file] = &std::env::args().collect::<Vec<_>>()[..]
        && what == "adapter"
    {
        let adapter = Adapter::plug_in();
        println!("{}", adapter.chip().display());
        loop {
            let lines = format!("{:?}\n", (0..adapter::LINES).map(|line| adapter.is_high(line)).collect::<Vec<_>>());
            std::fs::write(file, lines).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    env_logger::builder().filter_module("lookout", log::LevelFilter::Debug).init();
    // The machine ends with this program: what it prints is the result.
    let only: Vec<String> = std::env::args().skip(1).collect();
    for (name, check) in camera::CHECKS.into_iter().chain(gpio::CHECKS).chain(card::CHECKS).chain(serial::CHECKS) {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        let begin = Instant::now();
        check();
        println!("ok {name} {:.1} s", begin.elapsed().as_secs_f32());
    }
    println!("MACHINE PASSED");
}
