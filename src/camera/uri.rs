//! The address of a camera.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::str::FromStr;

use super::PixelFormat;
use crate::nearest::nearest;
use crate::{Code, Error, Result};

/// The address of a camera. `Display` leaves passwords out.
#[derive(Debug, Clone, PartialEq)]
pub enum Uri {
    /// A camera of the kernel.
    V4l2(Device),
    /// One picture; `again` gives it again and again, and reads it anew whenever it changes.
    File {
        /// The picture.
        path: PathBuf,
        /// `loop=`, else it is given once.
        again: bool,
    },
    /// The pictures of a folder.
    Folder(Folder),
    /// An MJPEG stream or a snapshot, `http` or `https`, with `user:password@` where needed.
    Http(String),
    /// A shell command line whose standard output is JPEGs one after the other.
    Command(String),
}

/// A camera of the kernel, and how it should be set.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// `/dev/video0`.
    pub path: PathBuf,
    /// Width and height in pixels; without it 640 x 480 or what is nearest.
    pub size: Option<[u32; 2]>,
    /// Frames a second that the camera makes.
    pub fps: Option<u32>,
    /// Its pixel format; without it the cheapest to decode of those it has.
    pub format: Option<PixelFormat>,
}

/// The pictures of a folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    /// Gives its pictures round and round (`loop=1`).
    pub again: bool,
    /// Gives the pictures that are there already, in the order of their names (`existing=0` does not).
    pub existing: bool,
    /// Waits for new pictures (`watch=0` ends after those that are there).
    pub watch: bool,
}

const SCHEMES: [&str; 6] = ["v4l2", "file", "folder", "http", "https", "cmd"];
const KNOWN: &str = "v4l2:///dev/video0, file:///x.jpg, folder:PATH, http://..., cmd:COMMAND, or the path of a picture";

impl Uri {
    /// Reads an address. Errors name what is wrong with it, what is known, and what was probably meant.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(wrong(text, "it is empty", format!("known: {KNOWN}")));
        }
        let Some((scheme, rest)) = split_scheme(text) else {
            return Ok(Self::File { path: PathBuf::from(text), again: true });
        };
        match scheme {
            "v4l2" => v4l2(text, rest),
            "file" => file(text, rest),
            "folder" => folder(text, rest),
            "http" | "https" => http(text, rest),
            "cmd" if rest.trim().is_empty() => {
                Err(wrong(text, "no command follows", "write cmd:rpicam-vid -t 0 --codec mjpeg -o -".into()))
            }
            "cmd" => Ok(Self::Command(rest.trim().to_owned())),
            "rtsp" | "rtsps" | "rtmp" | "udp" => Err(wrong(
                text,
                &format!("{scheme} is not spoken here"),
                format!("let ffmpeg read it: cmd:ffmpeg -loglevel error -i {scheme}://... -f mjpeg -q:v 4 -"),
            )),
            other => {
                let meant = nearest(other, &SCHEMES).map_or(String::new(), |name| format!("did you mean `{name}:`? "));
                Err(wrong(text, &format!("{other:?} is not a kind of camera"), format!("{meant}known: {KNOWN}")))
            }
        }
    }

    /// Whether `text` is an address with a scheme rather than the path of a picture.
    pub fn has_scheme(text: &str) -> bool {
        split_scheme(text.trim()).is_some()
    }
}

impl FromStr for Uri {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4l2(device) => write!(f, "v4l2://{}", device.path.display()),
            Self::File { path, .. } => path.display().fmt(f),
            Self::Folder(folder) => write!(f, "folder:{}", folder.path.display()),
            Self::Http(url) => f.write_str(&redacted(url)),
            Self::Command(line) => write!(f, "cmd:{}", redacted(line)),
        }
    }
}

/// `Some` where it begins like `scheme:` and is not rather a path with a colon in it.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let shaped = scheme.len() >= 2 && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-".contains(&b));
    let meant = SCHEMES.contains(&scheme) || rest.starts_with("//") || nearest(scheme, &SCHEMES).is_some();
    (shaped && meant && !std::path::Path::new(text).is_file()).then_some((scheme, rest))
}

fn v4l2(text: &str, rest: &str) -> Result<Uri> {
    let options = Options::read(text, rest, &["size", "fps", "format"])?;
    let path = match options.path.strip_prefix("//").unwrap_or(options.path) {
        "" => "/dev/video0".to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        name if name.bytes().all(|b| b.is_ascii_digit()) => format!("/dev/video{name}"),
        name => format!("/dev/{name}"),
    };
    let size = options.get("size", "640x480", |value| {
        let (width, height) = value.split_once('x')?;
        let side = |text: &str| text.parse().ok().filter(|side| (1..=16_384).contains(side));
        Some([side(width)?, side(height)?])
    })?;
    let fps =
        options.get("fps", "15, from 1 to 240", |value| value.parse().ok().filter(|fps| (1..=240).contains(fps)))?;
    let format = options.get("format", PixelFormat::NAMES, PixelFormat::named)?;
    Ok(Uri::V4l2(Device { path: path.into(), size, fps, format }))
}

fn file(text: &str, rest: &str) -> Result<Uri> {
    let options = Options::read(text, rest, &["loop"])?;
    let again = options.switch("loop", true)?;
    let path = options.path.strip_prefix("//localhost").or(options.path.strip_prefix("//")).unwrap_or(options.path);
    if !path.starts_with('/') {
        return Err(wrong(
            text,
            "the path must be absolute",
            "write file:///folder/picture.jpg, or the plain path".into(),
        ));
    }
    let path = percent_decoded(path.as_bytes()).ok_or_else(|| {
        wrong(text, "a % is not followed by two hexadecimal digits", "write a plain % as %25, or the plain path".into())
    })?;
    Ok(Uri::File { path: OsString::from_vec(path).into(), again })
}

fn folder(text: &str, rest: &str) -> Result<Uri> {
    let options = Options::read(text, rest, &["loop", "existing", "watch"])?;
    let path = PathBuf::from(options.path.strip_prefix("//").unwrap_or(options.path));
    if path.as_os_str().is_empty() {
        return Err(wrong(
            text,
            "no folder is named",
            "write folder:PATH, for example folder:/var/lib/pictures".into(),
        ));
    }
    let folder = Folder {
        path,
        again: options.switch("loop", false)?,
        existing: options.switch("existing", true)?,
        watch: options.switch("watch", true)?,
    };
    if !folder.existing && (folder.again || !folder.watch) {
        let help = "drop existing=0, or drop loop= and watch=";
        return Err(wrong(text, "no picture would ever come", help.into()));
    }
    Ok(Uri::Folder(folder))
}

fn http(text: &str, rest: &str) -> Result<Uri> {
    let host = rest.strip_prefix("//").unwrap_or_default().split(['/', '?', '#']).next().unwrap_or_default();
    if host.rsplit('@').next().unwrap_or_default().trim_matches(['[', ']']).is_empty() {
        return Err(wrong(text, "no host is named", "write http://camera.lan/stream.mjpg".into()));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(wrong(text, "it has a space in it", "write a space as %20".into()));
    }
    Ok(Uri::Http(text.to_owned()))
}

/// The path and the `name=value` pairs after its `?`.
struct Options<'a> {
    text: &'a str,
    path: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Options<'a> {
    fn read(text: &'a str, rest: &'a str, known: &[&str]) -> Result<Self> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&name) {
                let meant = nearest(name, known).map_or(String::new(), |near| format!("did you mean `{near}=`? "));
                let help = format!("{meant}known here: {}", known.join(", "));
                return Err(wrong(text, &format!("unknown option {name:?}"), help));
            }
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(wrong(text, &format!("{name}= is given twice"), format!("keep one {name}=")));
            }
            pairs.push((name, value));
        }
        Ok(Self { text, path, pairs })
    }

    fn get<T>(&self, name: &str, example: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        let Some((_, value)) = self.pairs.iter().find(|(known, _)| *known == name) else { return Ok(None) };
        let value = parse(value).ok_or_else(|| {
            wrong(self.text, &format!("{name}={value} makes no sense"), format!("write {name}={example}"))
        })?;
        Ok(Some(value))
    }

    fn switch(&self, name: &str, default: bool) -> Result<bool> {
        let parsed = self.get(name, "1 or 0", |value| match value {
            "1" | "true" | "yes" => Some(true),
            "0" | "false" | "no" => Some(false),
            _ => None,
        })?;
        Ok(parsed.unwrap_or(default))
    }
}

/// Bytes with `%20` and the like resolved; `None` where a `%` is not followed by two hexadecimal digits.
pub(crate) fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'%' {
            let digit = |at: usize| text.get(at).and_then(|byte| (*byte as char).to_digit(16));
            plain.push((digit(at + 1)? * 16 + digit(at + 2)?) as u8);
            at += 3;
        } else {
            plain.push(text[at]);
            at += 1;
        }
    }
    Some(plain)
}

/// `text` with the `user:password@` of every address in it left out.
pub(super) fn redacted(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let host = after.find(|c: char| "/?#\"'".contains(c) || c.is_whitespace()).unwrap_or(after.len());
        rest = after[..host].rfind('@').map_or(after, |at| &after[at + 1..]);
    }
    clean + rest
}

fn wrong(text: &str, cause: &str, help: String) -> Error {
    let shown: String = redacted(text).chars().take(200).collect();
    Error::new(Code::Camera, format!("{shown:?} is not the address of a camera: {cause}"), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(text: &str) -> Device {
        let Uri::V4l2(device) = Uri::parse(text).unwrap() else { panic!("{text} is not a device") };
        device
    }

    #[test]
    fn addresses_are_read() {
        let full = device("v4l2:///dev/video2?size=1280x720&fps=15&format=mjpg");
        assert_eq!(full.path, PathBuf::from("/dev/video2"));
        assert_eq!((full.size, full.fps, full.format), (Some([1280, 720]), Some(15), Some(PixelFormat::Mjpg)));
        assert_eq!(device("v4l2:").path, device("v4l2://0").path);
        let file = |path: &str, again| Uri::File { path: path.into(), again };
        assert_eq!(Uri::parse("file:///a%20b.jpg?loop=0").unwrap(), file("/a b.jpg", false));
        assert_eq!(Uri::parse("a:b c.jpg").unwrap(), file("a:b c.jpg", true));
        let folder = Folder { path: "in".into(), again: true, existing: true, watch: true };
        assert_eq!(Uri::parse("folder:in?loop=1").unwrap(), Uri::Folder(folder));
        let line = "gst-launch-1.0 a ! b ? c";
        assert_eq!(Uri::parse(&format!("cmd: {line}")).unwrap(), Uri::Command(line.into()));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_known() {
        for (text, cause, help) in [
            ("v4l:///dev/video0", "\"v4l\" is not a kind", "did you mean `v4l2:`"),
            ("floder:/x", "\"floder\" is not a kind", "did you mean `folder:`"),
            ("gopher://x", "\"gopher\" is not a kind", "known: v4l2:"),
            ("v4l2:///dev/video0?sise=1x1", "unknown option \"sise\"", "did you mean `size=`? known here: size, fps"),
            ("v4l2:///dev/video0?size=big", "size=big makes no sense", "size=640x480"),
            ("v4l2:///dev/video0?size=0x480", "size=0x480", "size=640x480"),
            ("v4l2:///dev/video0?fps=0", "fps=0 makes no sense", "from 1 to 240"),
            ("v4l2:///dev/video0?format=H264", "format=H264", "MJPG"),
            ("v4l2:///dev/video0?fps=5&fps=6", "fps= is given twice", "keep one"),
            ("folder:", "no folder is named", "folder:PATH"),
            ("folder:x?loop=maybe", "loop=maybe", "1 or 0"),
            ("folder:x?existing=0&watch=0", "no picture would ever come", "existing=0"),
            ("file://x.jpg", "must be absolute", "file:///"),
            ("file:///x%2.jpg", "hexadecimal", "%25"),
            ("cmd: ", "no command follows", "rpicam-vid"),
            ("http://", "no host is named", "http://camera"),
            ("http://user:secret@", "no host is named", "http://camera"),
            ("http://host/a b", "a space", "%20"),
            ("rtsp://cam:554/1", "rtsp is not spoken", "cmd:ffmpeg"),
            ("", "it is empty", "known:"),
        ] {
            let error = Uri::parse(text).expect_err(text);
            assert!(error.message().contains(cause), "{text}: {error}");
            assert!(error.help().contains(help), "{text}: {}", error.help());
            assert!(!format!("{error}{}", error.help()).contains("secret"), "{error}");
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        for text in ["http://me:se@cret@cam.lan/a?b=c@d", "cmd:ffmpeg -i 'rtsp://me:secret@cam.lan:554/x' -f mjpeg -"] {
            let shown = Uri::parse(text).unwrap().to_string();
            assert!(!shown.contains("cret") && !shown.contains("me:") && shown.contains("cam.lan"), "{shown}");
        }
        assert_eq!(redacted("http://cam/a@b"), "http://cam/a@b");
    }
}
