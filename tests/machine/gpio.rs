//! Lines of a real kernel, from a trigger to the voltage and back.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lookout::board::{BoardConfig, Inputs, Outputs};
use lookout::daemon::{Config, Daemon};
use lookout::engine::Options;
use lookout::watch::{Desk, Status};

use super::adapter::Adapter;
use super::camera::{self, DEVICE};
use super::{Check, LONG};

pub const CHECKS: [Check; 2] =
    [("gpio", lines_follow_events_and_events_follow_lines), ("gpio errors", lines_that_cannot_be_had_are_explained)];

/// The outputs.
const BELL: usize = 0;
const LAMP: usize = 1;
/// The inputs, on an adapter of their own.
const BUTTON: usize = 0;
const SENSOR: usize = 1;
const KEY: usize = 2;

/// The camera fills its picture with one colour: to the gate that is light, not motion, so nobody looks before the sensor
/// says so.
fn lines_follow_events_and_events_follow_lines() {
    let (outputs, inputs) = (Adapter::plug_in(), Adapter::plug_in());
    let folder = Path::new("/tmp/gpio");
    fs::create_dir_all(folder).unwrap();
    image::RgbImage::from_pixel(64, 64, image::Rgb([255, 0, 0])).save(folder.join("red.png")).unwrap();
    let trigger = |name: &str| {
        format!(
            "[[trigger]]\nname = \"{name}\"\nlike = \"red.png\"\nthreshold = 0.95\nlinger = \"0s\"\ngpio = \"{name}\"\ncaption = false\n"
        )
    };
    let (out, inside) = (outputs.chip().display(), inputs.chip().display());
    let text = format!(
        "device = \"machine\"\nthreads = 1\nbundle = \"/bundle\"\n[memory]\nfolder = \"memory\"\n\
         [board.outputs]\n\
         bell = {{ chip = \"{out}\", line = {BELL} }}\n\
         lamp = {{ chip = \"{out}\", line = {LAMP}, active_low = true }}\n\
         [board.inputs]\n\
         button = {{ chip = \"{inside}\", line = {BUTTON}, do = \"toggle\" }}\n\
         sensor = {{ chip = \"{inside}\", line = {SENSOR}, do = \"look\" }}\n\
         key = {{ chip = \"{inside}\", line = {KEY}, active_low = true, do = \"arm\" }}\n\
         [[camera]]\nname = \"vivid\"\nsource = \"v4l2://{DEVICE}?size=640x360\"\nstall = \"20s\"\n\
         motion = {{ refresh = \"1h\" }}\n{}{}",
        trigger("bell"),
        trigger("lamp"),
    );
    let config = Config::parse(&text, "lookout.toml", folder).unwrap();
    camera::fill("100% Green");
    let daemon = Daemon::start(config.clone(), Options::default()).unwrap();
    let desk = daemon.desk();
    wait("a first look", &*desk, |status| status.looks > 0);
    assert!(outputs.is_output(BELL) && outputs.is_output(LAMP), "both are outputs");
    let off = || !outputs.is_high(BELL) && outputs.is_high(LAMP);
    let on = || outputs.is_high(BELL) && !outputs.is_high(LAMP);
    assert!(off(), "outputs are off at first, and what is on at low voltage is at high voltage then");

    camera::fill("100% Red");
    wait("a red frame", &*desk, |_| {
        let picture = desk.newest(None).unwrap().picture().unwrap();
        picture.as_rgb8()[0] > 250 && picture.as_rgb8()[1] < 5
    });
    let (looks, frames) = (desk.status().looks, desk.status().cameras[0].frames);
    wait("frames that nobody looks at", &*desk, |status| status.cameras[0].frames >= frames + 10);
    assert_eq!(desk.status().looks, looks, "nothing moves");
    let readings = inputs.readings();
    inputs.put(SENSOR, true, 8);
    wait("the sensor to be read", &*desk, |_| inputs.readings() > readings + 20);
    wait("the outputs to go on", &*desk, |_| on());
    let kernel = fs::read_to_string("/sys/kernel/debug/gpio").unwrap();
    println!("{kernel}");
    let line = |level: &str| kernel.lines().any(|line| line.contains("lookout") && line.contains(level));
    assert!(line("out hi") && line("out lo") && line("in  lo"), "the kernel sees it, too");
    inputs.put(SENSOR, false, 0);

    let busy = Outputs::open(&config.board).err().expect("the lines are held");
    println!("{busy}; {}", busy.help());
    assert!(busy.message().contains("bell") && busy.message().contains("used by \"lookout\""), "{busy}");

    // An even number of edges, so that one who heard them all would be where he was.
    inputs.put(BUTTON, true, 16);
    wait("to be disarmed", &*desk, |status| !status.armed);
    wait("the outputs to go off", &*desk, |_| off());
    inputs.put(BUTTON, false, 16);
    let readings = inputs.readings();
    wait("the button to be read", &*desk, |_| inputs.readings() > readings + 40);
    assert!(!desk.status().armed, "letting go of it does nothing");
    inputs.put(BUTTON, true, 16);
    wait("the outputs to go on again", &*desk, |status| status.armed && on());

    inputs.put(KEY, true, 4);
    wait("the key to disarm", &*desk, |status| !status.armed && off());
    inputs.put(KEY, false, 4);
    wait("the key to arm", &*desk, |status| status.armed && on());

    let events = desk.status().events;
    drop(desk);
    daemon.end();
    assert!(off(), "outputs are off at the end");
    assert_eq!(events, 6, "two triggers, begun by the sensor, the button and the key");
    Outputs::open(&config.board).expect("and the lines are free again");
    assert!(off(), "as they are when somebody has looked at them");
}

fn lines_that_cannot_be_had_are_explained() {
    let adapter = Adapter::plug_in();
    let chip = adapter.chip().display().to_string();
    for (pin, cause) in [
        (format!("chip = \"{chip}\", line = 9"), "has 8 lines, and none is 9".to_owned()),
        ("chip = \"/dev/gpiochip99\", line = 0".to_owned(), "there is no GPIO chip /dev/gpiochip99".to_owned()),
        ("chip = \"/dev/null\", line = 0".to_owned(), "/dev/null".to_owned()),
        (format!("chip = \"{chip}\", line = \"GPIO17\""), "no GPIO line is called \"GPIO17\"".to_owned()),
        ("line = \"GPIO17\"".to_owned(), "no GPIO line is called \"GPIO17\"".to_owned()),
    ] {
        let table =
            |name: &str, more: &str| toml::from_str::<BoardConfig>(&format!("[{name}]\nbell = {{ {pin}{more} }}"));
        let output = Outputs::open(&table("outputs", "").unwrap()).err().expect(&cause);
        let input =
            Inputs::open(&table("inputs", ", do = \"look\"").unwrap(), Box::new(|_, _| {})).err().expect(&cause);
        for error in [output, input] {
            println!("{error}; {}", error.help());
            assert!(error.message().contains("GPIO bell") && error.message().contains(&cause), "{error}");
        }
    }
}

fn wait(what: &str, desk: &dyn Desk, there: impl Fn(&Status) -> bool) {
    let until = Instant::now() + LONG;
    while !there(&desk.status()) {
        if Instant::now() >= until {
            let kernel = fs::read_to_string("/sys/kernel/debug/gpio").unwrap_or_default();
            panic!("no end of waiting for {what}: {:?}\n{kernel}", desk.status());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
