//! How long a question over the serial line takes beside the desk's own time. A pseudo-terminal has no speed, so the time
//! that bytes need on a real wire comes on top: 10 bits a byte.
//!
//!     cargo test --release --no-default-features --features serial --test serial overhead -- --ignored --nocapture

use std::time::{Duration, Instant};

use lookout::link::serial::Client;
use lookout::protocol::{Message, Question};

use crate::common::desk::ScriptedDesk;
use crate::common::{self, Hand, LONG, Pty, framed, serve};

#[test]
#[ignore = "a measurement"]
fn question_to_answer() {
    const TURNS: usize = 2_000;
    let pty = Pty::open();
    let served = serve(&pty.path, ScriptedDesk::new());
    served.wait_until_up();
    let mut hand = Hand::new(pty.master.clone());
    // The scripted desk answers at once: all the time is the line's.
    let lines = (0..TURNS).map(|_| time(|| drop(hand.ask("label a dog, a cat"))));
    told("a line", lines.collect());
    let ask =
        |id| lookout::protocol::Ask { id, question: Question::Label, text: lookout::protocol::text("a dog, a cat") };
    let frames = (0..TURNS).map(|id| {
        let frame = framed(&Message::Ask(ask(id as u32)));
        time(|| {
            hand.send(&frame);
            assert!(matches!(hand.message(), Message::Answer(_)));
        })
    });
    told("a frame", frames.collect());
    drop(served);

    let wire = common::Wire::new(common::Faults::default());
    let _served = serve(&wire.lookout, ScriptedDesk::new());
    let mut client = Client::open(&wire.client, 3_000_000, LONG).expect("the port is there");
    client.status().expect("it is up");
    let asked = (0..TURNS).map(|_| time(|| drop(client.ask(Question::Label, "a dog, a cat").expect("an answer"))));
    told("Client::ask, through a relay between two terminals", asked.collect());
}

fn time(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

fn told(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (median, p95) = (times[times.len() / 2], times[times.len() * 95 / 100]);
    println!("{what}: median {median:.3?}, p95 {p95:.3?}, n {}", times.len());
}
