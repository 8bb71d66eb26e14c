//! What a configuration will do, in words.

use std::fmt::Write;

use crate::Result;
use crate::bundle::Bundle;
use crate::watch::Trigger;

use super::config::Config;
use super::running::memory_folder;

/// A description of what the daemon will do, for people. Errors where the bundle cannot be opened.
pub fn describe(config: &Config, bundle: &Bundle) -> Result<String> {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |words: String| {
        let _ = writeln!(text, "{words}");
    };
    line(format!("device   {}", config.device));
    line(format!("bundle   {}", bundle.identity()));
    for camera in &config.cameras {
        let gate = if camera.motion.enabled { "looked at when something moves" } else { "every frame looked at" };
        line(format!("camera   {}: {}, {} frames a second, {gate}", camera.name, camera.camera().check()?, camera.fps));
        for (zone, [x, y, width, height]) in &camera.zones {
            line(format!("         zone {zone}: {width} x {height} of the picture, from {x}, {y}"));
        }
    }
    for trigger in &config.triggers {
        line(format!("trigger  {}", sentence(trigger, config)));
    }
    if config.triggers.is_empty() {
        line("trigger  none: questions are answered, no events begin".to_owned());
    }
    let folder = memory_folder(config)?;
    line(format!("memory   {}: {} days, at most {}", folder.display(), config.memory.days, config.memory.bytes));
    match &config.mqtt {
        Some(mqtt) => line(format!(
            "mqtt     {} under {}/{}{}",
            mqtt.url,
            mqtt.prefix,
            config.device,
            if mqtt.home_assistant { ", found by Home Assistant" } else { "" }
        )),
        None => line("mqtt     off".to_owned()),
    }
    match &config.serial {
        Some(serial) => line(format!("serial   {} at {} baud", serial.port.display(), serial.baud)),
        None => line("serial   off".to_owned()),
    }
    match &config.web {
        Some(web) => line(format!("web      http://{}", web.listen)),
        None => line("web      off".to_owned()),
    }
    Ok(text)
}

fn sentence(trigger: &Trigger, config: &Config) -> String {
    let mut text = format!("{}: ", trigger.name);
    match (&trigger.when, &trigger.like) {
        (Some(words), _) => text += &format!("\"{words}\""),
        (None, Some(path)) => text += &format!("like {}", path.display()),
        (None, None) => {}
    }
    if !trigger.unless.is_empty() {
        text += &format!(" rather than \"{}\"", trigger.unless.join("\", \""));
    }
    text += &format!(", from {:.2}, until below {:.2}", trigger.threshold, trigger.release());
    if let Some(hours) = trigger.hours {
        text += &format!(", {hours}");
    }
    let cameras = if trigger.cameras.is_empty() {
        config.cameras.iter().map(|camera| camera.name.as_str()).collect::<Vec<_>>().join(", ")
    } else {
        trigger.cameras.join(", ")
    };
    text += &format!(", on {cameras}");
    if let Some(zone) = &trigger.zone {
        text += &format!(" in zone {zone}");
    }
    let mut deeds = Vec::new();
    let named: [(&str, bool); 4] = [
        ("caption", trigger.caption),
        ("snapshot", trigger.snapshot),
        ("mqtt", trigger.mqtt && config.mqtt.is_some()),
        ("serial", trigger.serial && config.serial.is_some()),
    ];
    deeds.extend(named.into_iter().filter(|(_, wanted)| *wanted).map(|(deed, _)| deed.to_owned()));
    deeds.extend(trigger.ground.iter().map(|phrase| format!("boxes of \"{phrase}\"")));
    deeds.extend(trigger.gpio.iter().map(|output| format!("gpio {output}")));
    deeds.extend(trigger.command.first().map(|program| format!("run {program}")));
    if !deeds.is_empty() {
        text += &format!(": {}", deeds.join(", "));
    }
    if !trigger.enabled {
        text += " (switched off)";
    }
    text
}
