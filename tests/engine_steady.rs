//! The steady path: no allocation once everything has run, results that do not depend on threads or repetition, and work
//! that can be ended early.
#![cfg(feature = "engine")]

use std::path::Path;
use std::time::{Duration, Instant};

use lookout::Code;
use lookout::bundle::Bundle;
use lookout::engine::{Decoder, Features, Grounder, ImageTower, Options, Patches, Stop, TextTower};
use lookout::picture::Picture;
use lookout::sight::{Looker, SpeakOptions};
use lookout::text::Speaker;

fn bundle() -> Bundle {
    Bundle::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default")).expect("the default bundle")
}

fn picture() -> Picture {
    Picture::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo.jpg")).expect("the demo picture")
}

fn pixels() -> Vec<f32> {
    bundle().manifest().picture().preprocess().apply(&picture())
}

fn look(threads: usize) -> Features {
    ImageTower::load(&bundle(), &Options { threads }).and_then(|tower| tower.encode(&pixels())).expect("features")
}

fn patches(features: &Features) -> &Patches {
    features.patches.as_ref().expect("patches")
}

#[test]
fn a_picture_is_encoded_without_allocating() {
    let tower = ImageTower::load(&bundle(), &Options { threads: 1 }).expect("loads");
    let pixels = pixels();
    let mut features = tower.encode(&pixels).expect("features");
    let first = features.clone();
    features.patches = None;
    tower.encode_into(&pixels, &mut features).expect("features");
    let counted = allocation_counter::measure(|| tower.encode_into(&pixels, &mut features).expect("features"));
    assert_eq!(counted.count_total, 0, "{} bytes", counted.bytes_total);
    assert_eq!(features, first);
}

#[test]
fn results_do_not_depend_on_threads_or_repetition() {
    let one = look(1);
    for threads in [1, 2, 3, 4] {
        assert_eq!(look(threads), one, "{threads} threads");
    }
    let (bundle, options) = (bundle(), |threads| Options { threads });
    let text = |threads| {
        TextTower::load(&bundle, &options(threads)).and_then(|t| t.encode("two dogs run over the sand")).expect("text")
    };
    let phrase = text(1);
    let boxes = |threads| {
        let grounder = Grounder::load(&bundle, &options(threads)).expect("loads");
        grounder.locate(patches(&one), &phrase).expect("boxes")
    };
    let logits = |threads| {
        let decoder = Decoder::load(&bundle, &options(threads)).expect("loads");
        let attending = decoder.attend(patches(&one));
        let mut state = attending.start().expect("a start");
        (1..6).map(|token| attending.step(&mut state, token).expect("logits")).collect::<Vec<_>>()
    };
    for threads in [2, 4] {
        assert_eq!(text(threads), phrase, "text, {threads} threads");
        assert_eq!(boxes(threads), boxes(1), "boxes, {threads} threads");
        assert_eq!(logits(threads), logits(1), "logits, {threads} threads");
    }
}

#[test]
fn sentences_that_step_together_go_on_as_each_would_alone() {
    let decoder = Decoder::load(&bundle(), &Options { threads: 1 }).expect("loads");
    let one = look(1);
    let attending = decoder.attend(patches(&one));
    let mut start = attending.start().expect("a start");
    attending.step(&mut start, 101).expect("logits");
    let (mut together, mut alone) = (vec![start; 5], vec![]);
    alone.clone_from(&together);
    for turn in 0..4u32 {
        let tokens: Vec<u32> = (0..5).map(|sentence| 1000 + 7 * sentence + 100 * turn).collect();
        let found = attending.steps(together.iter_mut().collect(), &tokens).expect("logits");
        for ((state, token), found) in alone.iter_mut().zip(&tokens).zip(&found) {
            assert_eq!(&attending.step(state, *token).expect("logits"), found, "turn {turn}, token {token}");
        }
        assert!(found.windows(2).all(|pair| pair[0] != pair[1]), "five sentences that are one show nothing");
    }
    // Of different lengths they go on one by one.
    let short = attending.start().expect("a start");
    let (mut states, mut again) = (vec![together.swap_remove(0), short], vec![alone.swap_remove(0)]);
    let found = attending.steps(states.iter_mut().collect(), &[7, 101]).expect("logits");
    assert_eq!(attending.step(&mut again[0], 7).expect("logits"), found[0]);
    assert!(attending.steps(vec![], &[]).expect("nothing").is_empty());
}

#[test]
fn work_that_is_stopped_says_so_and_leaves_nothing_behind() {
    let looker = Looker::open(bundle(), Options { threads: 2 }).expect("opens");
    let picture = picture();
    let view = looker.look(&picture).expect("a view");
    let said = looker.caption(&view, &SpeakOptions::default()).expect("a caption").caption;

    let stop = Stop::by_hand();
    assert!(stop.during(|| looker.look(&picture)).is_ok());
    stop.clone().now();
    let error = stop.during(|| looker.look(&picture).map(drop)).unwrap_err();
    assert_eq!((error.code(), error.code().as_str()), (Code::Stopped, "stopped"));
    assert_eq!(stop.during(|| looker.caption(&view, &SpeakOptions::default())).unwrap_err().code(), Code::Stopped);
    // Outside of it everything is as before.
    assert_eq!(looker.look(&picture).expect("a view").embedding, view.embedding);
    assert_eq!(looker.caption(&view, &SpeakOptions::default()).expect("a caption").caption, said);

    let begin = Instant::now();
    let late = Stop::after(Duration::from_millis(20));
    let error = late.during(|| {
        loop {
            if let Err(error) = looker.caption(&view, &SpeakOptions::default()) {
                break error;
            }
        }
    });
    assert_eq!(error.code(), Code::Stopped);
    assert!(late.is_due() && begin.elapsed() >= Duration::from_millis(20));

    let other = Stop::by_hand();
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            other.now();
        });
        other.during(|| {
            loop {
                if let Err(error) = looker.look(&picture) {
                    break error;
                }
            }
        })
    });
    assert_eq!(error.code(), Code::Stopped);
}
