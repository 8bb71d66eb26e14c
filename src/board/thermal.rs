//! Temperature and throttling.

use std::fs;
use std::path::{Path, PathBuf};

use super::config::BoardConfig;

/// Degrees by which it must get cooler before frames are no longer thinned out.
const COOLER: f32 = 5.0;

/// Degrees above `hot` from which three of four frames are left out.
const MUCH: f32 = 6.0;

/// How warm the board is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Heat {
    /// Temperature of the processor in degrees Celsius, where it can be read.
    pub celsius: Option<f32>,
    /// Whether frames are thinned out to cool down, or the board slows itself for heat or low voltage.
    pub throttled: bool,
}

/// Reads the kernel's thermal zones and a Raspberry Pi's firmware.
pub struct Thermal {
    hot: f32,
    zones: Vec<PathBuf>,
    firmware: PathBuf,
    factor: u32,
}

impl Thermal {
    /// Finds what can be read on this board.
    pub fn new(config: &BoardConfig) -> Self {
        Self::under(Path::new("/sys"), config.hot)
    }

    fn under(sys: &Path, hot: f32) -> Self {
        let folder = fs::read_dir(sys.join("class/thermal"));
        let mut zones: Vec<(bool, PathBuf)> = folder
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("thermal_zone"))
            .map(|entry| {
                let kind = fs::read_to_string(entry.path().join("type")).unwrap_or_default().to_lowercase();
                let processor = ["cpu", "soc", "pkg"].iter().any(|word| kind.contains(word));
                (processor, entry.path().join("temp"))
            })
            .collect();
        // Other zones are a battery or a wireless chip; they count only where nothing says that it is the processor.
        if zones.iter().any(|(processor, _)| *processor) {
            zones.retain(|(processor, _)| *processor);
        }
        let firmware = sys.join("devices/platform/soc/soc:firmware/get_throttled");
        Self { hot, zones: zones.into_iter().map(|(_, path)| path).collect(), firmware, factor: 1 }
    }

    /// The temperature now, the warmest zone of the processor, and whether the board slows itself.
    pub fn read(&mut self) -> Heat {
        let celsius = self.zones.iter().filter_map(|zone| {
            let milli: i32 = fs::read_to_string(zone).ok()?.trim().parse().ok()?;
            Some(milli as f32 / 1000.0).filter(|celsius| (-40.0..=150.0).contains(celsius))
        });
        let celsius = celsius.reduce(f32::max);
        self.adapt(celsius);
        Heat { celsius, throttled: self.factor > 1 || self.firmware_throttles() }
    }

    /// By how much frames are to be thinned out: 1 is not at all.
    pub fn slowdown(&self) -> u32 {
        self.factor
    }

    fn adapt(&mut self, celsius: Option<f32>) {
        let Some(celsius) = celsius else {
            self.factor = 1;
            return;
        };
        let wanted = |degrees: f32| match degrees {
            _ if degrees >= self.hot + MUCH => 4,
            _ if degrees >= self.hot => 2,
            _ => 1,
        };
        let next =
            if wanted(celsius) > self.factor { wanted(celsius) } else { self.factor.min(wanted(celsius + COOLER)) };
        if next != self.factor {
            log::warn!(
                "{celsius:.0} degrees: {}",
                match next {
                    1 => "all frames are looked at again".to_owned(),
                    factor => format!("one of {factor} frames is looked at"),
                }
            );
        }
        self.factor = next;
    }

    /// The low four bits say what is the case now: low voltage, capped, throttled, soft temperature limit.
    fn firmware_throttles(&self) -> bool {
        let bits = fs::read_to_string(&self.firmware).ok();
        let bits = bits.and_then(|text| u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok());
        bits.is_some_and(|bits| bits & 0xF != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(zones: &[(&str, &str)]) -> tempfile::TempDir {
        let sys = tempfile::tempdir().unwrap();
        for (at, (kind, temp)) in zones.iter().enumerate() {
            let zone = sys.path().join(format!("class/thermal/thermal_zone{at}"));
            fs::create_dir_all(&zone).unwrap();
            fs::write(zone.join("type"), kind).unwrap();
            fs::write(zone.join("temp"), temp).unwrap();
        }
        sys
    }

    #[test]
    fn the_warmest_zone_of_the_processor_counts() {
        let sys = board(&[("iwlwifi_1", "90000\n"), ("cpu-thermal", "51200\n"), ("CPU-therm", "61000\n")]);
        assert_eq!(Thermal::under(sys.path(), 75.0).read().celsius, Some(61.0));
        assert_eq!(Thermal::under(board(&[]).path(), 75.0).read(), Heat::default());
        assert_eq!(Thermal::under(board(&[("cpu", "nonsense")]).path(), 75.0).read().celsius, None);
    }

    #[test]
    fn frames_are_thinned_out_when_hot_and_not_before_it_is_clearly_cooler() {
        let sys = board(&[("cpu-thermal", "60000")]);
        let mut thermal = Thermal::under(sys.path(), 75.0);
        let mut at = |celsius: u32| {
            fs::write(sys.path().join("class/thermal/thermal_zone0/temp"), format!("{celsius}000")).unwrap();
            let heat = thermal.read();
            (thermal.slowdown(), heat.throttled)
        };
        assert_eq!([60, 74, 75, 73, 71].map(&mut at), [(1, false), (1, false), (2, true), (2, true), (2, true)]);
        assert_eq!([81, 77, 76, 74, 70, 69].map(&mut at).map(|(factor, _)| factor), [4, 4, 4, 2, 2, 1]);
    }

    #[test]
    fn a_raspberry_pi_says_when_it_slows_itself() {
        let sys = board(&[("cpu-thermal", "60000")]);
        let firmware = sys.path().join("devices/platform/soc/soc:firmware");
        fs::create_dir_all(&firmware).unwrap();
        for (text, throttled) in [("0", false), ("50005", true), ("50000", false), ("0x4", true), ("?", false)] {
            fs::write(firmware.join("get_throttled"), text).unwrap();
            assert_eq!(Thermal::under(sys.path(), 75.0).read().throttled, throttled, "{text}");
        }
    }
}
