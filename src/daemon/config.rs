//! The configuration file of the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::board::BoardConfig;
use crate::bundle::{Bundle, Trust};
use crate::camera::{CameraConfig, Rotate};
use crate::complaint::explain;
use crate::link::mqtt::MqttConfig;
use crate::link::serial::SerialConfig;
use crate::link::web::WebConfig;
use crate::memory::MemoryConfig;
use crate::watch::{Area, Motion, Trigger, check_area, check_name};
use crate::{Code, Error, Result, seconds};

use super::machine::device_name;

/// Most bytes in a configuration file.
const MOST_BYTES: u64 = 1 << 20;

/// Most triggers, and most cameras.
const MOST_TRIGGERS: usize = 1_000;
const MOST_CAMERAS: usize = 16;

/// All of it. Paths are taken from the folder of the file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of this device, part of topics; the machine's name and a hash of its id where none is given.
    #[serde(default = "device_name")]
    pub device: String,
    /// The model bundle; the default one where none is named.
    #[serde(default)]
    pub bundle: Option<PathBuf>,
    /// Whether the bundle must be signed by one of `trusted_keys`.
    #[serde(default)]
    pub require_signature: bool,
    /// Public keys of minisign: the key itself, a file, or a folder of files `*.pub`; the folder `keys` beside the
    /// configuration where nothing is said.
    #[serde(default)]
    pub trusted_keys: Vec<String>,
    /// Threads of the networks; one a core, at most 4, where nothing is said.
    #[serde(default)]
    pub threads: Option<usize>,
    /// The cameras, at least one.
    #[serde(default, rename = "camera")]
    pub cameras: Vec<CameraSection>,
    /// The triggers. There may be none: questions are answered all the same.
    #[serde(default, rename = "trigger")]
    pub triggers: Vec<Trigger>,
    /// The memory of events.
    #[serde(default)]
    pub memory: MemoryConfig,
    /// The broker.
    #[serde(default)]
    pub mqtt: Option<MqttConfig>,
    /// The serial line.
    #[serde(default)]
    pub serial: Option<SerialConfig>,
    /// The page.
    #[serde(default)]
    pub web: Option<WebConfig>,
    /// GPIO and temperature.
    #[serde(default)]
    pub board: BoardConfig,
}

/// One camera: where its pictures come from, and what is watched in them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraSection {
    /// Its name, in events, topics and logs.
    pub name: String,
    /// Its address: `v4l2:///dev/video0`, `folder:PATH`, `http://...`, `cmd:...`.
    pub source: String,
    /// Most frames a second that are looked at.
    #[serde(default = "five")]
    pub fps: f32,
    /// How long no frame may come before the camera is opened again.
    #[serde(default = "five_seconds", with = "seconds")]
    pub stall: Duration,
    /// Degrees by which its pictures are turned clockwise: 0, 90, 180 or 270.
    #[serde(default)]
    pub rotate: Rotate,
    /// When its picture counts as moving.
    #[serde(default)]
    pub motion: Motion,
    /// Parts whose motion does not count, `[x, y, width, height]` in fractions of the picture.
    #[serde(default)]
    pub masks: Vec<Area>,
    /// Named parts that triggers look at.
    #[serde(default)]
    pub zones: BTreeMap<String, Area>,
}

impl CameraSection {
    /// The part that the camera's own room knows.
    pub fn camera(&self) -> CameraConfig {
        CameraConfig {
            name: self.name.clone(),
            source: self.source.clone(),
            fps: self.fps,
            stall: self.stall,
            rotate: self.rotate,
        }
    }

    fn check(&self) -> Result<()> {
        check_name("camera", &self.name)?;
        self.camera().check()?;
        self.motion.check(&self.name)?;
        for mask in &self.masks {
            check_area(&format!("camera {}: a mask", self.name), *mask)?;
        }
        for (zone, area) in &self.zones {
            check_name("zone", zone)?;
            check_area(&format!("camera {}: zone {zone}", self.name), *area)?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let unreadable = |cause: String| {
            let help = "name another one: lookout run -c lookout.toml; an example is in boards/lookout.toml";
            Error::new(Code::Config, format!("the configuration {shown} cannot be read: {cause}"), help)
        };
        let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if size > MOST_BYTES {
            return Err(unreadable(format!("it has {size} bytes; is it the right file?")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::parse(&text, &shown.to_string(), folder)
    }

    /// Reads and checks a file's text. `name` appears in errors; relative paths are taken from `folder`.
    pub fn parse(text: &str, name: &str, folder: &Path) -> Result<Self> {
        let mut config: Config = toml::from_str(text).map_err(|error| {
            let complaint = explain(text, &error);
            let help = complaint.help.unwrap_or_else(|| "correct that line, then try: lookout run --check".to_owned());
            Error::new(Code::Config, format!("{name}{}: {}", complaint.place, complaint.cause), help)
        })?;
        config.resolve(folder);
        config.check().map_err(|error| Error::new(error.code(), format!("{name}: {error}"), error.help()))?;
        Ok(config)
    }

    /// Whose bundles are taken; `None` where anybody's are. Errors where a key cannot be read.
    pub fn trust(&self) -> Result<Option<Trust>> {
        self.require_signature.then(|| Trust::read(&self.trusted_keys)).transpose()
    }

    /// Where the bundle lies.
    pub fn bundle_path(&self) -> Result<PathBuf> {
        self.bundle.clone().map_or_else(Bundle::default_path, Ok)
    }

    /// Opens the bundle, with its signature checked where one is required.
    pub fn open_bundle(&self) -> Result<Bundle> {
        Bundle::open_trusting(&self.bundle_path()?, self.trust()?.as_ref())
    }

    /// Takes relative paths from the folder of the file.
    fn resolve(&mut self, folder: &Path) {
        let absolute = |path: &mut PathBuf| *path = folder.join(&path);
        if self.require_signature && self.trusted_keys.is_empty() {
            self.trusted_keys.push("keys".to_owned());
        }
        for key in self.trusted_keys.iter_mut().filter(|key| !Trust::is_key(key)) {
            *key = folder.join(&key).display().to_string();
        }
        self.bundle.iter_mut().for_each(absolute);
        self.memory.folder.iter_mut().for_each(absolute);
        self.triggers.iter_mut().filter_map(|trigger| trigger.like.as_mut()).for_each(absolute);
        if let Some(mqtt) = &mut self.mqtt {
            let files = [&mut mqtt.password_file, &mut mqtt.ca, &mut mqtt.cert, &mut mqtt.key];
            files.into_iter().flatten().for_each(absolute);
        }
        if let Some(web) = &mut self.web {
            web.token_file.iter_mut().for_each(absolute);
        }
        for camera in &mut self.cameras {
            for scheme in ["folder:", "file:"] {
                if let Some(path) = camera.source.strip_prefix(scheme)
                    && !path.starts_with('/')
                {
                    camera.source = format!("{scheme}{}", folder.join(path).display());
                }
            }
        }
    }

    fn check(&self) -> Result<()> {
        let refuse = |message: String, help: &str| Err(Error::new(Code::Config, message, help));
        check_name("device", &self.device)?;
        if self.cameras.is_empty() {
            return refuse(
                "there is no camera".to_owned(),
                "add one: [[camera]] name = \"door\" source = \"v4l2:///dev/video0\"",
            );
        }
        if self.cameras.len() > MOST_CAMERAS || self.triggers.len() > MOST_TRIGGERS {
            return refuse(
                format!("{} cameras and {} triggers are too many", self.cameras.len(), self.triggers.len()),
                "at most 16 cameras and 1000 triggers",
            );
        }
        if self.threads.is_some_and(|threads| !(1..=64).contains(&threads)) {
            return refuse("`threads` is not 1 to 64".to_owned(), "leave it out for one a core, at most 4");
        }
        if !self.trusted_keys.is_empty() && !self.require_signature {
            return refuse(
                "`trusted_keys` says whose bundles are taken, but `require_signature` is not set".to_owned(),
                "add `require_signature = true`, or leave `trusted_keys` out",
            );
        }
        let mut names = BTreeSet::new();
        for camera in &self.cameras {
            camera.check()?;
            if !names.insert(&camera.name) {
                return refuse(format!("two cameras are called {:?}", camera.name), "give each its own name");
            }
        }
        let mut names = BTreeSet::new();
        for trigger in &self.triggers {
            self.check_trigger(trigger)?;
            if !names.insert(&trigger.name) {
                return refuse(format!("two triggers are called {:?}", trigger.name), "give each its own name");
            }
        }
        self.memory.check()?;
        self.mqtt.iter().try_for_each(MqttConfig::check)?;
        self.serial.iter().try_for_each(SerialConfig::check)?;
        self.web.iter().try_for_each(WebConfig::check)?;
        self.board.check()
    }

    /// Refuses a trigger that makes no sense, by itself or with these cameras and outputs.
    pub fn check_trigger(&self, trigger: &Trigger) -> Result<()> {
        trigger.check()?;
        let name = &trigger.name;
        let refuse = |cause: String, known: Vec<&str>| {
            let known =
                if known.is_empty() { "there is none".to_owned() } else { format!("known: {}", known.join(", ")) };
            Err(Error::new(Code::Config, format!("trigger {name}: {cause}"), known))
        };
        let cameras: Vec<&str> = self.cameras.iter().map(|camera| camera.name.as_str()).collect();
        if let Some(unknown) = trigger.cameras.iter().find(|camera| !cameras.contains(&camera.as_str())) {
            return refuse(format!("there is no camera {unknown:?}"), cameras);
        }
        let watched = |camera: &&CameraSection| trigger.cameras.is_empty() || trigger.cameras.contains(&camera.name);
        if let Some(zone) = &trigger.zone
            && !self.cameras.iter().filter(watched).any(|camera| camera.zones.contains_key(zone))
        {
            let known = self.cameras.iter().filter(watched).flat_map(|camera| camera.zones.keys()).map(String::as_str);
            return refuse(format!("none of its cameras has a zone {zone:?}"), known.collect());
        }
        if let Some(output) = &trigger.gpio
            && !self.board.outputs.contains_key(output)
        {
            let known = self.board.outputs.keys().map(String::as_str).collect();
            return refuse(format!("there is no GPIO output {output:?} in [board.outputs]"), known);
        }
        Ok(())
    }
}

fn five() -> f32 {
    5.0
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "device = \"porch\"\n[[camera]]\nname = \"door\"\nsource = \"folder:pictures\"\n";

    fn parse(text: &str) -> Result<Config> {
        Config::parse(text, "lookout.toml", Path::new("/etc/lookout"))
    }

    #[test]
    fn one_camera_is_enough_and_paths_are_taken_from_the_files_folder() {
        let config = parse(LEAST).unwrap();
        assert_eq!(config.cameras[0].source, "folder:/etc/lookout/pictures");
        assert_eq!(config.cameras[0].fps, 5.0);
        let config = parse(&format!("bundle = \"b.tar\"\n{LEAST}")).unwrap();
        assert_eq!(config.bundle.as_deref(), Some(Path::new("/etc/lookout/b.tar")));
    }

    #[test]
    fn each_kind_of_mistake_is_named_with_a_next_step() {
        let trigger = |more: &str| format!("{LEAST}[[trigger]]\nname = \"t\"\nwhen = \"a dog\"\n{more}\n");
        for (text, cause, help) in [
            (String::new(), "no camera", "[[camera]]"),
            (format!("{LEAST}fsp = 3\n"), "line 5: unknown key \"fsp\"", "did you mean `fps`?"),
            (format!("{LEAST}[mqqt]\n"), "unknown key \"mqqt\"", "did you mean `mqtt`?"),
            (format!("{LEAST}fps = \"fast\"\n"), "line 5", "correct that line"),
            (format!("{LEAST}{}", &LEAST[17..]), "two cameras are called \"door\"", "own name"),
            (LEAST.replace("folder:", "floder:"), "floder", ""),
            (trigger("cameras = [\"dor\"]"), "no camera \"dor\"", "known: door"),
            (trigger("zone = \"path\""), "zone \"path\"", "there is none"),
            (trigger("gpio = \"bell\""), "GPIO output \"bell\"", "there is none"),
            (trigger("treshold = 0.7"), "unknown key \"treshold\"", "did you mean `threshold`?"),
            (trigger("[[trigger]]\nname = \"t\"\nwhen = \"x\""), "two triggers are called \"t\"", "own name"),
            (format!("{LEAST}zones = {{ path = [0.5, 0.5, 0.9, 0.1] }}\n"), "zone path", "fractions"),
            (format!("threads = 0\n{LEAST}"), "`threads`", "leave it out"),
            (format!("trusted_keys = [\"a.pub\"]\n{LEAST}"), "`require_signature` is not set", "true"),
            (format!("{LEAST}motion = {{ difference_m = -1.0 }}\n"), "difference_m", "between 0"),
            ("device = \"a b\"".to_owned(), "\"a b\" cannot be the name", "letters"),
            ("device = ".to_owned(), "line 1", "correct that line"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.message().contains(cause), "{text}\n{error}");
            assert!(error.help().contains(help), "{text}\n{}", error.help());
            assert_eq!(error.code(), Code::Config);
        }
    }

    #[test]
    fn a_required_signature_is_by_the_keys_beside_the_file_unless_others_are_named() {
        let config = parse(&format!("require_signature = true\n{LEAST}")).unwrap();
        assert_eq!(config.trusted_keys, ["/etc/lookout/keys"]);
        let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        let keys = format!("require_signature = true\ntrusted_keys = [\"{key}\", \"a.pub\"]\n{LEAST}");
        assert_eq!(parse(&keys).unwrap().trusted_keys, [key, "/etc/lookout/a.pub"]);
    }

    #[test]
    fn a_file_that_is_missing_or_a_folder_is_named() {
        let error = Config::read(Path::new("/missing/lookout.toml")).unwrap_err();
        assert!(error.message().contains("/missing/lookout.toml"), "{error}");
        assert!(Config::read(Path::new("/")).is_err());
    }
}
