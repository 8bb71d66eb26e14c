//! The motion gate: keeps the networks idle while nothing moves.
//!
//! The picture is reduced to the mean brightness of a grid of cells and compared with a background that follows slowly.
//! A cell has changed where it differs from its background by more than `difference_m` of it plus `difference_c`; the
//! picture moves where more than `region_threshold` of the cells have. The constants mean what they mean in rpicam-apps'
//! `motion_detect`. What all cells have in common (a lamp, the camera's exposure) is taken out first.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::picture::Picture;
use crate::seconds;
use crate::{Code, Error, Result};

/// Cells across and down.
const ACROSS: usize = 64;
const DOWN: usize = 48;
const CELLS: usize = ACROSS * DOWN;

/// Pixels that are read of a cell, along each side.
const SAMPLES: usize = 4;

/// Seconds in which the background takes over about two thirds of a change.
const BACKGROUND_SECONDS: f32 = 20.0;

/// When a camera's picture counts as moving.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Motion {
    /// Whether the gate is there at all. Without it every frame is looked at.
    pub enabled: bool,
    /// Share of the background's brightness by which a cell must differ.
    pub difference_m: f32,
    /// Brightness, of 255, by which a cell must differ besides.
    pub difference_c: f32,
    /// Share of the cells that must have changed.
    pub region_threshold: f32,
    /// How long looking goes on after the last motion.
    #[serde(with = "seconds")]
    pub linger: Duration,
    /// How long at most nobody looks, moving or not.
    #[serde(with = "seconds")]
    pub refresh: Duration,
}

impl Default for Motion {
    fn default() -> Self {
        Self {
            enabled: true,
            difference_m: 0.1,
            difference_c: 10.0,
            region_threshold: 0.005,
            linger: Duration::from_secs(1),
            refresh: Duration::from_secs(30),
        }
    }
}

impl Motion {
    /// Refuses numbers that make no sense.
    pub fn check(&self, camera: &str) -> Result<()> {
        let sound = [
            ("difference_m", self.difference_m, 10.0),
            ("difference_c", self.difference_c, 255.0),
            ("region_threshold", self.region_threshold, 1.0),
        ];
        for (name, value, most) in sound {
            if !(0.0..=most).contains(&value) {
                return Err(Error::new(
                    Code::Config,
                    format!("camera {camera}: motion.{name} is {value}"),
                    format!("it must be between 0 and {most}; leave it out for the default"),
                ));
            }
        }
        Ok(())
    }
}

/// A rectangle in fractions of the picture: `[x, y, width, height]`, origin at the top left.
pub type Area = [f32; 4];

/// Refuses an area that is empty or goes out of the picture.
pub fn check_area(what: &str, area: Area) -> Result<()> {
    let [x, y, width, height] = area;
    let inside = |from: f32, size: f32| from >= 0.0 && size > 0.0 && from + size <= 1.0 + 1e-4;
    if inside(x, width) && inside(y, height) {
        return Ok(());
    }
    Err(Error::new(
        Code::Config,
        format!("{what} is {area:?}, which is not within the picture"),
        "write [x, y, width, height] in fractions of the picture: the left half is [0.0, 0.0, 0.5, 1.0]",
    ))
}

/// Watches one camera for motion.
pub struct Gate {
    motion: Motion,
    /// Whether each cell counts.
    counts: Vec<bool>,
    background: Vec<f32>,
    cells: Vec<f32>,
    sorted: Vec<f32>,
    size: (u32, u32),
    seen: Option<Instant>,
    moved: Option<Instant>,
    looked: Option<Instant>,
}

/// What the gate made of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// Share of the cells that have changed, `0..=1`.
    pub changed: f32,
    /// Whether the frame should be looked at.
    pub look: bool,
}

impl Gate {
    /// `masks`: parts of the picture whose motion does not count.
    pub fn new(motion: Motion, masks: &[Area]) -> Self {
        let counts = (0..CELLS).map(|cell| {
            let (x, y) = ((cell % ACROSS) as f32 + 0.5, (cell / ACROSS) as f32 + 0.5);
            let (x, y) = (x / ACROSS as f32, y / DOWN as f32);
            !masks.iter().any(|[left, top, w, h]| (*left..left + w).contains(&x) && (*top..top + h).contains(&y))
        });
        Self {
            counts: counts.collect(),
            motion,
            background: vec![0.0; CELLS],
            cells: vec![0.0; CELLS],
            sorted: Vec::with_capacity(CELLS),
            size: (0, 0),
            seen: None,
            moved: None,
            looked: None,
        }
    }

    /// Takes the next frame. `attentive`: something is under way, and the picture is looked at every five seconds even if
    /// it stays still. The first frame, and the first of another size, count as motion.
    pub fn judge(&mut self, picture: &Picture, now: Instant, attentive: bool) -> Verdict {
        if !self.motion.enabled {
            return Verdict { changed: 1.0, look: true };
        }
        brightness(picture, &mut self.cells);
        let size = (picture.width(), picture.height());
        let changed = match self.seen {
            Some(before) if self.size == size => self.compare(now.saturating_duration_since(before)),
            _ => {
                self.background.copy_from_slice(&self.cells);
                1.0
            }
        };
        self.size = size;
        self.seen = Some(now);
        if changed > self.motion.region_threshold {
            self.moved = Some(now);
        }
        let within =
            |since: Option<Instant>, time: Duration| since.is_some_and(|since| now.duration_since(since) <= time);
        let refresh = if attentive { self.motion.refresh.min(Duration::from_secs(5)) } else { self.motion.refresh };
        let look = within(self.moved, self.motion.linger) || !within(self.looked, refresh);
        if look {
            self.looked = Some(now);
        }
        Verdict { changed, look }
    }

    /// Makes sure that the next frame is looked at.
    pub fn forget(&mut self) {
        self.looked = None;
    }

    /// Share of the cells that differ from the background, which then moves on by `elapsed`.
    fn compare(&mut self, elapsed: Duration) -> f32 {
        let Motion { difference_m, difference_c, .. } = self.motion;
        self.sorted.clear();
        self.sorted.extend(self.cells.iter().zip(&self.background).map(|(cell, background)| cell - background));
        let middle = CELLS / 2;
        let common = *self.sorted.select_nth_unstable_by(middle, f32::total_cmp).1;
        let follow = 1.0 - (-elapsed.as_secs_f32() / BACKGROUND_SECONDS).exp();
        let (mut changed, mut counted) = (0, 0);
        for ((cell, background), counts) in self.cells.iter().zip(&mut self.background).zip(&self.counts) {
            let difference = (cell - common - *background).abs();
            if *counts {
                counted += 1;
                changed += usize::from(difference > difference_m * *background + difference_c);
            }
            *background += follow * (cell - *background);
        }
        if counted == 0 { 0.0 } else { changed as f32 / counted as f32 }
    }
}

/// The mean brightness of each cell, `0..=255`, from up to 16 pixels of it.
fn brightness(picture: &Picture, cells: &mut [f32]) {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let rgb = picture.as_rgb8();
    let place = |at: usize, of: usize, size: usize| (2 * at + 1) * size / (2 * of);
    for (cell, mean) in cells.iter_mut().enumerate() {
        let (column, row) = (cell % ACROSS * SAMPLES, cell / ACROSS * SAMPLES);
        let mut sum = 0;
        for y in row..row + SAMPLES {
            let line = place(y, DOWN * SAMPLES, height) * width;
            for x in column..column + SAMPLES {
                let at = 3 * (line + place(x, ACROSS * SAMPLES, width));
                // Twice green, red and blue once: near enough to luma.
                sum += u32::from(rgb[at]) + 2 * u32::from(rgb[at + 1]) + u32::from(rgb[at + 2]);
            }
        }
        *mean = sum as f32 / (4 * SAMPLES * SAMPLES) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grey picture with a lighter square of a tenth of its width at `x` (fraction), and noise of one level.
    fn scene(grey: u8, x: f32, seed: u32) -> Picture {
        let (width, height) = (320, 240);
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let rgb = (0..width * height).flat_map(|at| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let (px, py) = ((at % width) as f32 / width as f32, (at / width) as f32 / height as f32);
            let inside = (x..x + 0.1).contains(&px) && (0.4..0.6).contains(&py);
            [grey + if inside { 60 } else { 0 } + (state & 1) as u8; 3]
        });
        Picture::from_rgb8(width, height, rgb.collect()).unwrap()
    }

    fn run(gate: &mut Gate, begin: Instant, frames: impl IntoIterator<Item = (f32, Picture)>) -> Vec<Verdict> {
        frames
            .into_iter()
            .map(|(at, picture)| gate.judge(&picture, begin + Duration::from_secs_f32(at), false))
            .collect()
    }

    #[test]
    fn a_still_scene_is_looked_at_once_and_then_at_each_refresh() {
        let mut gate = Gate::new(Motion::default(), &[]);
        let verdicts = run(&mut gate, Instant::now(), (0..400).map(|i| (i as f32 * 0.2, scene(100, 0.3, i))));
        let looks: Vec<usize> = (0..400).filter(|i| verdicts[*i].look).collect();
        // The first second lingers after the first frame, then 30 and 60 seconds later.
        assert!(looks.iter().filter(|i| **i > 6).count() <= 3, "{looks:?}");
        assert!(looks.contains(&0) && looks.iter().any(|i| *i > 140));
    }

    #[test]
    fn what_moves_is_looked_at_as_long_as_it_moves() {
        let mut gate = Gate::new(Motion::default(), &[]);
        let frames = (0..100).map(|i| (i as f32 * 0.2, scene(100, if i < 50 { 0.3 } else { 0.008 * i as f32 }, i)));
        let verdicts = run(&mut gate, Instant::now(), frames);
        assert!(verdicts[51..].iter().all(|verdict| verdict.look));
        assert!(verdicts[20..50].iter().all(|verdict| !verdict.look));
    }

    #[test]
    fn a_change_of_light_alone_is_no_motion() {
        let mut gate = Gate::new(Motion::default(), &[]);
        let frames = (0..60).map(|i| (i as f32 * 0.2, scene(if i < 30 { 100 } else { 140 }, 0.3, i)));
        let verdicts = run(&mut gate, Instant::now(), frames);
        assert!(verdicts[20..].iter().all(|verdict| !verdict.look), "{:?}", &verdicts[28..34]);
    }

    #[test]
    fn motion_under_a_mask_does_not_count() {
        let mut gate = Gate::new(Motion::default(), &[[0.0, 0.3, 1.0, 0.4]]);
        let frames = (0..60).map(|i| (i as f32 * 0.2, scene(100, 0.015 * i as f32, i)));
        let verdicts = run(&mut gate, Instant::now(), frames);
        assert!(verdicts[10..].iter().all(|verdict| verdict.changed == 0.0));
    }

    #[test]
    fn what_stays_becomes_background() {
        let mut gate = Gate::new(Motion::default(), &[]);
        let frames = (0..900).map(|i| (i as f32 * 0.2, scene(100, if i < 30 { 0.1 } else { 0.6 }, i)));
        let verdicts = run(&mut gate, Instant::now(), frames);
        assert!(verdicts[31].look && verdicts[899].changed == 0.0);
    }

    #[test]
    fn tiny_pictures_and_a_change_of_size_do_no_harm() {
        let mut gate = Gate::new(Motion::default(), &[]);
        let begin = Instant::now();
        let dot = Picture::from_rgb8(1, 1, vec![9, 9, 9]).unwrap();
        assert!(gate.judge(&dot, begin, false).look);
        let later = begin + Duration::from_secs(5);
        assert!(!gate.judge(&dot, later, false).look);
        assert!(gate.judge(&scene(90, 0.2, 1), later, false).look);
    }

    #[test]
    fn areas_out_of_the_picture_are_refused() {
        assert!(check_area("mask", [0.0, 0.0, 1.0, 1.0]).is_ok());
        for area in [[0.5, 0.0, 0.6, 1.0], [0.0, 0.0, 0.0, 1.0], [-0.1, 0.0, 0.5, 1.0], [0.0, f32::NAN, 0.5, 1.0]] {
            assert!(check_area("mask", area).is_err(), "{area:?}");
        }
    }
}
