//! Writing a picture whole or not at all.
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageFormat};

use super::Picture;
use crate::{Code, Error, Result};

const JPEG_QUALITY: u8 = 92;
const KNOWN: [(&str, ImageFormat); 7] = [
    ("png", ImageFormat::Png),
    ("jpg", ImageFormat::Jpeg),
    ("jpeg", ImageFormat::Jpeg),
    ("webp", ImageFormat::WebP),
    ("bmp", ImageFormat::Bmp),
    ("tif", ImageFormat::Tiff),
    ("tiff", ImageFormat::Tiff),
];

pub(super) fn save(picture: &Picture, path: &Path) -> Result<()> {
    let format = format_of(path)?;
    let target = writable_target(path)?;
    let encoded = encode(picture, format).map_err(|e| {
        Error::new(
            Code::Output,
            format!("{} cannot hold {} x {} pixels: {e}", path.display(), picture.width, picture.height),
            "write a .png instead",
        )
    })?;
    let temporary = temporary_beside(&target);
    let written = write_whole(&temporary, &encoded).and_then(|()| std::fs::rename(&temporary, &target));
    written.map_err(|e| {
        // The file may not exist yet; what counts is that nothing is left behind.
        let _ = std::fs::remove_file(&temporary);
        let help = match e.kind() {
            ErrorKind::NotFound => "create the folder first",
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "choose a folder that you may write to",
            ErrorKind::StorageFull => "free some space, or choose another disk",
            _ => "choose another place",
        };
        Error::new(Code::Output, format!("{} cannot be written: {e}", path.display()), help)
    })
}

fn format_of(path: &Path) -> Result<ImageFormat> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    KNOWN.iter().find(|(known, _)| *known == extension).map(|&(_, format)| format).ok_or_else(|| {
        let known: Vec<_> = KNOWN.iter().map(|(known, _)| format!(".{known}")).collect();
        let problem = if extension.is_empty() { "no extension".into() } else { format!("extension .{extension}") };
        Error::new(
            Code::Output,
            format!("{} has {problem}, so its picture format is unknown", path.display()),
            format!("end the name in one of {}", known.join(" ")),
        )
    })
}

/// The file to replace, behind any symbolic link.
fn writable_target(path: &Path) -> Result<PathBuf> {
    let Ok(meta) = std::fs::metadata(path) else { return Ok(path.to_owned()) };
    let refused = |why: &str, help: &str| {
        Err(Error::new(Code::Output, format!("{} cannot be written: it is {why}", path.display()), help))
    };
    if meta.is_dir() {
        return refused("a folder", "name a file in it");
    }
    if !meta.is_file() {
        return refused("not a regular file", "name a regular file");
    }
    if meta.permissions().readonly() {
        return refused("read-only", "choose another name, or make it writable (chmod u+w)");
    }
    Ok(path.canonicalize().unwrap_or_else(|_| path.to_owned()))
}

/// `quality` is 1 to 100.
pub(super) fn jpeg(picture: &Picture, quality: u8) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let (width, height) = (picture.width, picture.height);
    JpegEncoder::new_with_quality(&mut out, quality)
        .write_image(&picture.rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(|e| {
            let message = format!("{width} x {height} pixels cannot be a JPEG file: {e}");
            Error::new(Code::Picture, message, "use a smaller picture: a side of a JPEG has at most 65,535 pixels")
        })?;
    Ok(out)
}

fn encode(picture: &Picture, format: ImageFormat) -> image::ImageResult<Vec<u8>> {
    let mut out = std::io::Cursor::new(Vec::new());
    let (width, height, colour) = (picture.width, picture.height, ExtendedColorType::Rgb8);
    match format {
        ImageFormat::Jpeg => {
            JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY).write_image(&picture.rgb, width, height, colour)?;
        }
        _ => image::write_buffer_with_format(&mut out, &picture.rgb, width, height, colour, format)?,
    }
    Ok(out.into_inner())
}

fn temporary_beside(target: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    target.with_file_name(name)
}

fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    out.write_all(bytes)?;
    out.into_inner().map_err(|e| e.into_error())?.sync_all()
}
