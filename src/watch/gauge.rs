//! From a wobbling score to one event: threshold, hold, release, linger and cool-down of one trigger on one camera.

use std::time::{Duration, Instant};

use super::trigger::Trigger;

/// Rise of the peak that is worth an update.
const WORTH_TELLING: f32 = 0.1;

/// Least time between two updates.
const UPDATE_EVERY: Duration = Duration::from_secs(5);

/// Where a trigger stands on one camera.
#[derive(Debug, Default)]
pub struct Gauge {
    state: State,
    /// No event begins before.
    rests_until: Option<Instant>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Quiet,
    /// At the threshold since.
    Rising(Instant),
    Active(Active),
}

#[derive(Debug)]
struct Active {
    peak: f32,
    told: f32,
    told_at: Instant,
    /// Below the release score since.
    falling: Option<Instant>,
}

/// What comes of a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing is to be told.
    Stay,
    /// An event begins.
    Begin,
    /// The event's peak has risen.
    Update,
    /// The event ends.
    End,
}

impl Gauge {
    /// Takes the score as it is at `now`, whether it is new or still stands. `may_begin`: armed, enabled, and within the
    /// trigger's hours. Not-a-number counts as 0.
    pub fn step(&mut self, trigger: &Trigger, score: f32, now: Instant, may_begin: bool) -> Step {
        let score = if score.is_nan() { 0.0 } else { score };
        let next = match &mut self.state {
            State::Active(active) => {
                let step = active.step(trigger, score, now);
                if step == Step::End {
                    self.end(trigger, now);
                }
                return step;
            }
            _ if !may_begin || score < trigger.threshold || self.rests_until.is_some_and(|until| now < until) => {
                self.state = State::Quiet;
                return Step::Stay;
            }
            State::Quiet => now,
            State::Rising(since) => *since,
        };
        if now.duration_since(next) < trigger.hold {
            self.state = State::Rising(next);
            return Step::Stay;
        }
        self.state = State::Active(Active { peak: score, told: score, told_at: now, falling: None });
        Step::Begin
    }

    /// Ends the event under way, if there is one, whatever the score: the trigger is switched off or the watch ends.
    pub fn release(&mut self, trigger: &Trigger, now: Instant) -> Step {
        if !self.is_active() {
            self.state = State::Quiet;
            return Step::Stay;
        }
        self.end(trigger, now);
        Step::End
    }

    /// Whether an event is under way.
    pub fn is_active(&self) -> bool {
        matches!(self.state, State::Active(_))
    }

    /// Whether time alone may change where it stands.
    pub fn is_settled(&self) -> bool {
        match &self.state {
            State::Quiet => true,
            State::Rising(_) => false,
            State::Active(active) => active.falling.is_none(),
        }
    }

    fn end(&mut self, trigger: &Trigger, now: Instant) {
        self.state = State::Quiet;
        self.rests_until = now.checked_add(trigger.cooldown);
    }
}

impl Active {
    fn step(&mut self, trigger: &Trigger, score: f32, now: Instant) -> Step {
        self.peak = self.peak.max(score);
        if score < trigger.release() {
            let since = *self.falling.get_or_insert(now);
            return if now.duration_since(since) >= trigger.linger { Step::End } else { Step::Stay };
        }
        self.falling = None;
        if self.peak - self.told >= WORTH_TELLING && now.duration_since(self.told_at) >= UPDATE_EVERY {
            self.told = self.peak;
            self.told_at = now;
            return Step::Update;
        }
        Step::Stay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(more: &str) -> Trigger {
        toml::from_str(&format!("name = \"t\"\nwhen = \"a dog\"\nthreshold = 0.6\nrelease = 0.4\n{more}")).unwrap()
    }

    /// Steps at ten scores a second; what was not `Stay`, with its place.
    fn run(trigger: &Trigger, scores: impl IntoIterator<Item = f32>) -> Vec<(usize, Step)> {
        let begin = Instant::now();
        let mut gauge = Gauge::default();
        let at = |i: usize| begin + Duration::from_millis(100 * i as u64);
        let steps = scores.into_iter().enumerate().map(|(i, score)| (i, gauge.step(trigger, score, at(i), true)));
        steps.filter(|(_, step)| *step != Step::Stay).collect()
    }

    #[test]
    fn a_score_that_wobbles_around_the_threshold_gives_one_event() {
        let wobble = (0..200).map(|i| if i % 2 == 0 { 0.65 } else { 0.45 });
        assert_eq!(run(&trigger(""), wobble.chain([0.1; 50])), [(0, Step::Begin), (220, Step::End)]);
    }

    #[test]
    fn dips_shorter_than_linger_do_not_end_an_event() {
        let dips = (0..100).map(|i| if i % 20 < 15 { 0.0 } else { 0.9 });
        let steps = run(&trigger("linger = \"2s\""), [0.9].into_iter().chain(dips));
        assert_eq!(steps, [(0, Step::Begin)]);
    }

    #[test]
    fn hold_lets_short_flashes_pass() {
        let trigger = trigger("hold = \"1s\"");
        let flashes = (0..60).map(|i| if i % 10 < 5 { 0.9 } else { 0.2 });
        assert_eq!(run(&trigger, flashes), []);
        assert_eq!(run(&trigger, [0.9; 30]), [(10, Step::Begin)]);
    }

    #[test]
    fn none_begins_while_it_cools_down() {
        let trigger = trigger("linger = \"0s\"\ncooldown = \"3s\"");
        let pulses = (0..80).map(|i| if i % 4 < 2 { 0.9 } else { 0.0 });
        let begins: Vec<usize> =
            run(&trigger, pulses).into_iter().filter(|(_, step)| *step == Step::Begin).map(|(i, _)| i).collect();
        assert_eq!(begins, [0, 32, 64]);
    }

    #[test]
    fn a_rising_peak_is_told_now_and_then() {
        let climb = (0..200).map(|i| 0.6 + 0.002 * i as f32);
        let steps = run(&trigger(""), climb);
        assert_eq!(
            steps.iter().map(|(_, step)| *step).collect::<Vec<_>>(),
            [Step::Begin, Step::Update, Step::Update, Step::Update]
        );
    }

    #[test]
    fn nothing_begins_unless_it_may_and_what_is_under_way_can_be_released() {
        let (trigger, now) = (trigger(""), Instant::now());
        let mut gauge = Gauge::default();
        assert_eq!(gauge.step(&trigger, 0.9, now, false), Step::Stay);
        assert_eq!(gauge.step(&trigger, f32::NAN, now, true), Step::Stay);
        assert_eq!(gauge.step(&trigger, 0.9, now, true), Step::Begin);
        assert_eq!(gauge.release(&trigger, now), Step::End);
        assert_eq!(gauge.release(&trigger, now), Step::Stay);
    }
}
