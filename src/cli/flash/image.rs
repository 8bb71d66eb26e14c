//! `lookout flash image`

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::flash::Plan;
use crate::{Code, Error};

use super::super::console::{Console, Outcome};

#[derive(Args)]
#[command(after_help = "Examples:
  sudo lookout flash image --board raspberry-pi --settings settings.toml
  sudo lookout flash write lookout-raspberry-pi.img /dev/sdb

Boards: qemu-virt, raspberry-pi. Debian comes from where this machine's own apt takes it; what was fetched is kept for the
next image. The settings (hostname, Wi-Fi, SSH keys, MQTT) lie on the card's first partition and can be changed there.")]
pub(in crate::cli) struct MakeImage {
    /// The board
    #[arg(long, value_name = "BOARD")]
    board: String,
    /// The image to write [default: lookout-BOARD.img]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The package of lookout for arm64 [default: the one that `make deb ARCH=arm64` made]
    #[arg(long, value_name = "FILE")]
    deb: Option<PathBuf>,
    /// Settings to put on the card [default: an example, in which nothing is set]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Version of the system, by which updates are compared [default: that of the package]
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Public key whose updates the board takes; may be repeated [default: it takes none]
    #[arg(long = "update-key", value_name = "FILE")]
    update_keys: Vec<PathBuf>,
    /// Also write the file system of a slot here, for `lookout update make`
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Where what was fetched is kept [default: lookout in the user's cache]
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
}

#[derive(Serialize)]
struct Reply {
    task: &'static str,
    image: PathBuf,
    board: String,
    version: String,
    bytes: u64,
    root_bytes: u64,
    seconds: f64,
}

impl MakeImage {
    pub fn run(self, console: &Console) -> Outcome {
        let begin = Instant::now();
        Plan::board_name(&self.board)?;
        let deb = self.deb.unwrap_or_else(|| {
            Path::new("target/debian").join(concat!("lookout_", env!("CARGO_PKG_VERSION"), "_arm64.deb"))
        });
        let plan = Plan::new(&self.board, &deb, self.version.as_deref(), self.settings.as_deref(), &self.update_keys)?;
        let out = self.out.unwrap_or_else(|| format!("lookout-{}.img", self.board).into());
        if out.is_dir() {
            let message = format!("{} is a folder", out.display());
            return Err(Error::new(Code::Output, message, "name the file to write: --out card.img").into());
        }
        let cache = self.cache.unwrap_or_else(cache);
        let made = plan.make(&out, self.root.as_deref(), &cache, |stage| {
            console.note(&format!("{:5.0} s  {stage}", begin.elapsed().as_secs_f64()));
        })?;
        let reply = Reply {
            task: "flash image",
            image: out,
            board: self.board,
            version: plan.version().to_owned(),
            bytes: made.bytes,
            root_bytes: made.root_bytes,
            seconds: begin.elapsed().as_secs_f64(),
        };
        console.answer(&reply, || {
            let Reply { image, board, version, bytes, seconds, .. } = &reply;
            let (image, size) = (image.display(), *bytes as f64 / 1e6);
            format!(
                "{image}: {version} for {board}, {size:.0} MB, in {seconds:.0} s; lookout flash write {image} DEVICE\n"
            )
        })
    }
}

/// As the XDG base directories say.
fn cache() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    home.unwrap_or_else(std::env::temp_dir).join("lookout")
}
