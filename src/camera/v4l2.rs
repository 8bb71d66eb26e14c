//! Cameras of the kernel.
//!
//! nokhwa finds them. Frames are taken over the `v4l` crate, which nokhwa stands on: nokhwa waits for a frame for ever,
//! gives a buffer's padding as if it were picture, shares one handle so that a hanging camera cannot be opened anew, and
//! does not know GREY.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nokhwa::utils::{ApiBackend, CameraInfo};
use rustix::event::PollFlags;
use v4l::buffer::{Flags, Type};
use v4l::capability::Flags as Capability;
use v4l::format::{Colorspace, Quantization};
use v4l::framesize::FrameSizeEnum;
use v4l::io::mmap::Stream;
use v4l::io::traits::CaptureStream;
use v4l::video::Capture as _;
use v4l::video::capture::Parameters;
use v4l::{Format, FourCC};

use super::frame::Content;
use super::jpeg::with_tables;
use super::pixels::{Colour, Raw};
use super::source::{Shot, Source};
use super::{Device, Found, FoundFormat, PixelFormat, Stop};
use crate::{Code, Error, Result};

/// Sizes up to this many pixels are taken uncompressed where possible: cheaper to convert than a JPEG to decode.
const SMALL: u32 = 640 * 480;
/// How often it is looked whether to stop.
const LOOK: Duration = Duration::from_millis(200);

/// A camera that streams.
pub(super) struct Capture {
    shown: String,
    stream: Stream<'static>,
    format: PixelFormat,
    size: [u32; 2],
    stride: usize,
    colour: Colour,
    begun: bool,
    stop: Stop,
}

impl Capture {
    pub fn open(wanted: &Device, stop: Stop) -> Result<Self> {
        let shown = wanted.path.display().to_string();
        let failed = |doing: &str| {
            let (shown, doing) = (shown.clone(), doing.to_owned());
            move |error: io::Error| trouble(&shown, &doing, &error)
        };
        let device = v4l::Device::with_path(&wanted.path).map_err(failed("be opened"))?;
        let can = device.query_caps().map_err(failed("be asked what it is"))?.capabilities;
        if !can.contains(Capability::VIDEO_CAPTURE | Capability::STREAMING) {
            let message = format!("{shown} is not a camera that can be read here");
            let help = "look at `lookout camera list`; for a Raspberry Pi or Jetson CSI camera use cmd:rpicam-vid or GStreamer";
            return Err(Error::new(Code::Camera, message, help));
        }
        let offered = device.enum_formats().map_err(failed("list its formats"))?;
        let offered: Vec<[u8; 4]> = offered.iter().map(|format| format.fourcc.repr).collect();
        let [width, height] = wanted.size.unwrap_or([640, 480]);
        let format = choose(wanted.format, width * height > SMALL, &offered, &shown)?;
        let set = Format::new(width, height, FourCC::new(&fourcc(format)));
        let set = device.set_format(&set).map_err(failed("be set"))?;
        if set.fourcc.repr != fourcc(format) {
            let message = format!("{shown} was asked for {} and gives {}", format.name(), set.fourcc);
            return Err(Error::new(Code::Camera, message, "ask for another format="));
        }
        if wanted.size.is_some_and(|size| size != [set.width, set.height]) {
            log::warn!("{shown} gives {} x {} pixels, not {width} x {height}", set.width, set.height);
        }
        if let Some(fps) = wanted.fps
            && let Err(error) = device.set_params(&Parameters::with_fps(fps))
        {
            log::warn!("{shown} keeps its own frame rate: {error}");
        }
        let mut stream = Stream::with_buffers(&device, Type::VideoCapture, 4).map_err(failed("be streamed"))?;
        stream.set_timeout(LOOK);
        let colour = Colour {
            bt709: matches!(set.colorspace, Colorspace::Rec709),
            full: matches!(
                (set.quantization, set.colorspace),
                (Quantization::FullRange, _) | (Quantization::Default, Colorspace::JPEG)
            ),
        };
        let (size, stride) = ([set.width, set.height], set.stride as usize);
        Ok(Self { shown, stream, format, size, stride, colour, begun: false, stop })
    }

    /// Waits until a frame is there; `false` when it should stop.
    fn wait(&mut self) -> io::Result<bool> {
        while !self.stop.told() {
            if !self.begun {
                // The first call queues the buffers and starts the stream; after a time-out they stay queued, and the
                // frame that ends it is let go.
                match CaptureStream::next(&mut self.stream).map(|_| ()) {
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                        self.begun = true;
                        while !self.stop.told() && !self.ready()? {}
                        if !self.stop.told() {
                            CaptureStream::dequeue(&mut self.stream)?;
                        }
                    }
                    other => other.map(|()| self.begun = true)?,
                }
            } else if self.ready()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn ready(&self) -> io::Result<bool> {
        match self.stream.handle().poll(PollFlags::IN.bits() as i16, LOOK.as_millis() as i32) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            other => Ok(other? > 0),
        }
    }

    fn shot(&mut self, not_before: Instant) -> io::Result<Option<Shot>> {
        while self.wait()? {
            let (format, size, stride, colour) = (self.format, self.size, self.stride, self.colour);
            let (bytes, meta) = CaptureStream::next(&mut self.stream)?;
            if meta.flags.contains(Flags::ERROR) || Instant::now() < not_before {
                continue;
            }
            let used = bytes.get(..meta.bytesused as usize).filter(|used| !used.is_empty()).unwrap_or(bytes);
            if format == PixelFormat::Mjpg {
                return Ok(Some(Shot::encoded(with_tables(used.to_vec()))));
            }
            let [width, height] = size;
            let raw = Raw { format, width, height, stride, colour, bytes: used.to_vec() };
            return Ok(Some(Shot { content: Content::Raw(raw), file: None }));
        }
        Ok(None)
    }
}

impl Source for Capture {
    fn next(&mut self, not_before: Instant) -> Result<Option<Shot>> {
        self.shot(not_before).map_err(|error| trouble(&self.shown, "be read", &error))
    }
}

/// The format asked for, or the one that costs least.
fn choose(wanted: Option<PixelFormat>, large: bool, offered: &[[u8; 4]], shown: &str) -> Result<PixelFormat> {
    use PixelFormat::{Bgr3, Grey, Mjpg, Nv12, Rgb3, Yuyv};
    let cheapest = if large { [Mjpg, Nv12, Yuyv, Rgb3, Bgr3, Grey] } else { [Yuyv, Nv12, Rgb3, Bgr3, Mjpg, Grey] };
    let has = |format: &PixelFormat| offered.contains(&fourcc(*format));
    let chosen = match wanted {
        Some(wanted) => Some(wanted).filter(has),
        None => cheapest.into_iter().find(has),
    };
    chosen.ok_or_else(|| {
        let offered: Vec<String> = offered.iter().map(|code| FourCC::new(code).to_string()).collect();
        let wanted = wanted.map_or(String::new(), |format| format!("not {}, but ", format.name()));
        let message = format!("{shown} gives {wanted}{}", offered.join(", "));
        let help = format!("read here are {}; for others use cmd: with GStreamer or rpicam-vid", PixelFormat::NAMES);
        Error::new(Code::Camera, message, help)
    })
}

fn fourcc(format: PixelFormat) -> [u8; 4] {
    let mut code = [0; 4];
    code.copy_from_slice(format.name().as_bytes());
    code
}

fn trouble(shown: &str, doing: &str, error: &io::Error) -> Error {
    use rustix::io::Errno;
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    let (cause, help) = match code {
        Some(Errno::NOENT | Errno::NXIO) => {
            (format!("there is no camera {shown}"), "plug it in; look at `lookout camera list`")
        }
        Some(Errno::NODEV) => (format!("camera {shown} was unplugged"), "plug it in again"),
        Some(Errno::BUSY) => (
            format!("camera {shown} is used by another program"),
            "close that program (`fuser -v /dev/video*` names it)",
        ),
        Some(Errno::ACCESS | Errno::PERM) => {
            (format!("camera {shown} may not be used: {error}"), "add the user to the group `video`, then log in again")
        }
        _ => (format!("camera {shown} cannot {doing}: {error}"), "check its cable; look at `lookout camera list`"),
    };
    Error::new(Code::Camera, cause, help)
}

/// The cameras of the kernel. nokhwa finds them; what it does not say of one is asked of the kernel.
pub(super) fn found() -> Result<Vec<Found>> {
    let Ok(mut known) = nokhwa::query(ApiBackend::Video4Linux) else {
        // No driver is loaded.
        return Ok(Vec::new());
    };
    known.sort_by_key(|camera| camera.index().as_index().unwrap_or(u32::MAX));
    let path = |camera: &CameraInfo| Some(format!("/dev/video{}", camera.index().as_index().ok()?));
    Ok(known.iter().filter_map(|camera| describe(Path::new(&path(camera)?))).collect())
}

fn describe(path: &Path) -> Option<Found> {
    let device = v4l::Device::with_path(path).ok()?;
    let about = device.query_caps().ok()?;
    if !about.capabilities.contains(Capability::VIDEO_CAPTURE) {
        return None;
    }
    let sizes = |code: FourCC| -> Vec<[u32; 2]> {
        let sizes = device.enum_framesizes(code).unwrap_or_default();
        let sizes = sizes.into_iter().flat_map(|size| match size.size {
            FrameSizeEnum::Discrete(one) => vec![[one.width, one.height]],
            FrameSizeEnum::Stepwise(all) => vec![[all.min_width, all.min_height], [all.max_width, all.max_height]],
        });
        sizes.collect()
    };
    let formats = device.enum_formats().unwrap_or_default().into_iter().map(|format| FoundFormat {
        name: format.fourcc.to_string(),
        description: format.description,
        sizes: sizes(format.fourcc),
        known: PixelFormat::ALL.iter().any(|known| fourcc(*known) == format.fourcc.repr),
    });
    let formats = formats.collect();
    Some(Found { path: path.to_owned(), name: about.card, driver: about.driver, bus: about.bus, formats })
}
