//! `lookout camera`

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::camera::{Found, Uri, list, snap};
use crate::{Code, Error};

use super::args::text;
use super::console::{Console, Outcome};

#[derive(Subcommand)]
pub(super) enum CameraCommand {
    /// The cameras of this machine, and what they can give
    List,
    /// Save one picture of a camera
    Snap(Snap),
}

#[derive(Args)]
#[command(after_help = "Examples:
  lookout camera snap v4l2:///dev/video0 -o here.jpg
  lookout camera snap \"v4l2:///dev/video0?size=1280x720&format=MJPG\" -o here.png
  lookout camera snap http://camera.lan/stream.mjpg -o door.jpg
  lookout camera snap \"cmd:rpicam-vid -t 0 --codec mjpeg -o -\" -o garden.jpg")]
pub(super) struct Snap {
    /// Address of the camera: v4l2:///dev/video0, http://..., folder:PATH, cmd:COMMAND
    #[arg(value_name = "CAMERA", value_parser = text())]
    uri: String,
    /// Picture file to write; its extension says the format
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// How many seconds the camera may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    within: u64,
}

#[derive(Serialize)]
struct Listed {
    task: &'static str,
    cameras: Vec<Found>,
}

#[derive(Serialize)]
struct Snapped {
    task: &'static str,
    camera: String,
    out: PathBuf,
    size: [u32; 2],
}

impl CameraCommand {
    pub fn run(self, console: &Console) -> Outcome {
        match self {
            Self::List => {
                let listed = Listed { task: "camera list", cameras: list()? };
                console.answer(&listed, || human(&listed.cameras))
            }
            Self::Snap(snap) => snap.run(console),
        }
    }
}

impl Snap {
    fn run(self, console: &Console) -> Outcome {
        let camera = Uri::parse(&self.uri)?.to_string();
        if self.out.is_dir() {
            let message = format!("{} is a folder", self.out.display());
            return Err(Error::new(Code::Output, message, "name the picture to write: -o here.jpg").into());
        }
        let picture = snap(&self.uri, Duration::from_secs(self.within))?.picture()?;
        picture.save(&self.out)?;
        let size = [picture.width(), picture.height()];
        let snapped = Snapped { task: "camera snap", camera, out: self.out, size };
        console.answer(&snapped, || format!("{} x {} pixels in {}\n", size[0], size[1], snapped.out.display()))
    }
}

fn human(cameras: &[Found]) -> String {
    if cameras.is_empty() {
        return "no camera of the kernel (V4L2) was found, or none that this user may open (group `video`)\n"
            .to_owned();
    }
    let mut text = String::new();
    for camera in cameras {
        text += &format!("v4l2://{}  {} ({}, {})\n", camera.path.display(), camera.name, camera.driver, camera.bus);
        for format in &camera.formats {
            let sizes: Vec<String> = format.sizes.iter().map(|[width, height]| format!("{width}x{height}")).collect();
            let note = if format.known { "" } else { "  (not read here)" };
            text += &format!("    {:<5} {}{note}\n", format.name, sizes.join(" "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::FoundFormat;

    #[test]
    fn cameras_are_listed_with_the_address_to_type() {
        let format = |name: &str, known| FoundFormat {
            name: name.into(),
            description: "x".into(),
            sizes: vec![[640, 480], [1280, 720]],
            known,
        };
        let (path, formats) = ("/dev/video2".into(), vec![format("YUYV", true), format("H264", false)]);
        let (name, driver, bus) = ("Cam".into(), "uvcvideo".into(), "usb-1".into());
        let shown = human(&[Found { path, name, driver, bus, formats }]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "v4l2:///dev/video2  Cam (uvcvideo, usb-1)");
        assert_eq!(lines[1].trim(), "YUYV  640x480 1280x720");
        assert!(lines[2].ends_with("(not read here)"));
        assert!(human(&[]).contains("no camera"));
    }
}
