//! Making the image of a whole card.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::update::{Record, check_name};
use crate::{Code, Error, Result};

use super::layout::{BOOT_BYTES, SLOT_BYTES, assemble};
use super::recipe::{BOARDS, Board, EMULATOR, TOOLS, unpack};
use super::settings::Settings;

/// Folders where tools of an administrator lie, which a user's search path may lack.
const SBIN: [&str; 2] = ["/usr/sbin", "/sbin"];

/// What an image is to hold.
#[derive(Debug)]
pub struct Plan {
    board: &'static Board,
    deb: PathBuf,
    version: String,
    settings: String,
    keys: Vec<PathBuf>,
}

/// An image that was made.
#[derive(Debug)]
pub struct Made {
    /// Bytes of the image.
    pub bytes: u64,
    /// Bytes of the system in slot A.
    pub root_bytes: u64,
}

impl Plan {
    /// Checks what is asked for: the board's name, that `deb` is a package of lookout for arm64, and the settings, which
    /// are a file's path. `version` is the package's own where none is given. `keys` are the public keys whose updates
    /// the board will take.
    pub fn new(
        board: &str,
        deb: &Path,
        version: Option<&str>,
        settings: Option<&Path>,
        keys: &[PathBuf],
    ) -> Result<Self> {
        let board = Self::board(board)?;
        let settings = match settings {
            None => Settings::EXAMPLE.to_owned(),
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|error| {
                    let message = format!("the settings {} cannot be read: {error}", path.display());
                    Error::new(Code::Input, message, "an example is boards/image/settings.toml")
                })?;
                Settings::parse(&text, &path.display().to_string())?;
                text
            }
        };
        if !keys.is_empty() {
            crate::bundle::Trust::read(keys.iter().map(|key| key.to_string_lossy()))?;
        }
        missing_tools()?;
        let packaged = package_version(deb)?;
        let version = version.map_or(packaged, str::to_owned);
        check_name("version", &version)?;
        Ok(Self { board, deb: deb.to_owned(), version, settings, keys: keys.to_owned() })
    }

    /// Refuses a board that no image can be made for, with the list of those that one can.
    pub fn board_name(name: &str) -> Result<()> {
        Self::board(name).map(|_| ())
    }

    fn board(name: &str) -> Result<&'static Board> {
        BOARDS.iter().find(|board| board.name == name).ok_or_else(|| {
            let names: Vec<&str> = BOARDS.iter().map(|board| board.name).collect();
            let message = format!("there is no board {name:?} that an image can be made for");
            Error::new(Code::Usage, message, format!("choose one of: {}", names.join(", ")))
        })
    }

    /// The version that the image gets.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Makes the image at `out`, and leaves the file system of its slot at `root` where one is named. What Debian gives is
    /// kept in `cache`. `progress` is told what is being done. Only root can do this. Errors say which step failed, and
    /// what it said.
    pub fn make(&self, out: &Path, root: Option<&Path>, cache: &Path, mut progress: impl FnMut(&str)) -> Result<Made> {
        if !rustix::process::geteuid().is_root() {
            let message = "only root can make the system of another machine";
            return Err(Error::new(Code::Input, message, "run it as: sudo lookout flash image ..."));
        }
        let work = Work::new(out)?;
        let parts = work.0.join("parts");
        self.prepare(&work.0, &parts).map_err(|error| unwritable(&work.0, &error))?;
        if std::env::consts::ARCH != "aarch64" {
            run(Command::new(work.0.join("recipe/debian/emulate.sh")), "the emulator is registered", |_| {})?;
        }
        let mut build = Command::new(work.0.join("recipe/image/build.sh"));
        build.arg(&parts).arg(cache);
        run(build, "its Debian is made", &mut progress)?;

        progress("putting the image together");
        let mut signature = [0; 4];
        let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut signature));
        random.map_err(|error| unwritable(out, &error))?;
        let boot = self.boot_partition(&work.0, &parts, signature)?;
        let system = parts.join("root.img");
        let root_bytes = fs::metadata(&system).map_err(|error| unwritable(&system, &error))?.len();
        if root_bytes > SLOT_BYTES {
            let message = format!("the system has {root_bytes} bytes, and a slot {SLOT_BYTES}");
            return Err(Error::new(Code::Output, message, "leave something out of the package"));
        }
        let beside = work.0.join("card.img");
        let bytes = assemble(&beside, signature, &boot, &system, &Record::new(self.board.name, &self.version))?;
        if let Some(root) = root {
            fs::copy(&system, root).map_err(|error| unwritable(root, &error))?;
        }
        fs::rename(&beside, out).map_err(|error| unwritable(out, &error))?;
        Ok(Made { bytes, root_bytes })
    }

    fn prepare(&self, work: &Path, parts: &Path) -> io::Result<()> {
        unpack(&work.join("recipe"))?;
        fs::create_dir_all(parts.join("keys"))?;
        fs::write(parts.join("board"), self.board.name)?;
        fs::write(parts.join("version"), &self.version)?;
        fs::write(parts.join("lookout.toml"), self.board.config)?;
        for (number, key) in self.keys.iter().enumerate() {
            fs::copy(key, parts.join(format!("keys/{number}.pub")))?;
        }
        fs::copy(&self.deb, parts.join("lookout.deb")).map(|_| ())
    }

    fn boot_partition(&self, work: &Path, parts: &Path, signature: [u8; 4]) -> Result<PathBuf> {
        let (folder, image) = (parts.join("boot"), work.join("boot.img"));
        let card: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = folder.join("cmdline.txt");
        let written = fs::read_to_string(&line).and_then(|text| {
            // A kernel that panics starts the board again.
            fs::write(&line, format!("{} panic=10 lookout.card={card}\n", text.trim()))?;
            fs::write(folder.join(Settings::NAME), &self.settings)
        });
        written.map_err(|error| unwritable(&line, &error))?;
        let mut format = tool("mkfs.vfat");
        format.args(["-F", "32", "-n", "LOOKOUT", "-C"]).arg(&image).arg((BOOT_BYTES / 1024).to_string());
        run(format, "the boot partition is made", |_| {})?;
        let entries = fs::read_dir(&folder).map_err(|error| unwritable(&folder, &error))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let mut copy = tool("mcopy");
        copy.args(["-s", "-i"]).arg(&image).args(paths).arg("::");
        run(copy, "the boot partition is filled", |_| {})?;
        Ok(image)
    }
}

/// The version of a package, which must be lookout's for arm64.
fn package_version(deb: &Path) -> Result<String> {
    let shown = deb.display();
    let help = "make it with: make deb ARCH=arm64, and name it: --deb target/debian/lookout_VERSION_arm64.deb";
    let refuse = |cause: &str| Err(Error::new(Code::Input, format!("the package {shown} {cause}"), help));
    if !deb.is_file() {
        return refuse("is not there");
    }
    let field = |name: &str| {
        let output = Command::new("dpkg-deb").arg("--field").arg(deb).arg(name).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match (field("Package"), field("Architecture"), field("Version")) {
        (Some(name), Some(architecture), Some(version)) => match (name.as_str(), architecture.as_str()) {
            ("lookout", "arm64") => Ok(version),
            ("lookout", other) => refuse(&format!("is for {other}, and the boards are arm64")),
            _ => refuse(&format!("is {name}, not lookout")),
        },
        _ => refuse("is no Debian package"),
    }
}

fn missing_tools() -> Result<()> {
    let emulator = EMULATOR.into_iter().filter(|_| std::env::consts::ARCH != "aarch64");
    let missing: Vec<(&str, &str)> =
        TOOLS.into_iter().chain(emulator).filter(|(name, _)| find(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    let message = format!("an image cannot be made here without: {}", names.join(", "));
    Err(Error::new(Code::Input, message, format!("sudo apt-get install {}", packages.join(" "))))
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SBIN.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn tool(name: &str) -> Command {
    Command::new(find(name).unwrap_or_else(|| name.into()))
}

/// Runs a command to its end. A line `stage TEXT` of it is told. An error has the last lines of what it said.
fn run(mut command: Command, deed: &str, mut stage: impl FnMut(&str)) -> Result<()> {
    let failed = |cause: &str| {
        let message = format!("the image fails while {deed}: {cause}");
        Error::new(Code::Output, message, "is there room on the disk, and does `apt-get update` work?")
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error.to_string()))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let complaints = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = err.map(|mut err| err.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    for line in out.into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(io::Result::ok) {
        if let Some(text) = line.strip_prefix("stage ") {
            stage(text);
        }
    }
    let status = child.wait().map_err(|error| failed(&error.to_string()))?;
    let complaints = complaints.join().unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    let lines: Vec<&str> = complaints.lines().rev().filter(|line| !line.trim().is_empty()).take(4).collect();
    let last: Vec<&str> = lines.into_iter().rev().collect();
    Err(failed(&format!("{status}: {}", last.join("; "))))
}

/// A folder beside the image, gone with the value.
struct Work(PathBuf);

impl Work {
    fn new(out: &Path) -> Result<Self> {
        let mut name = out.as_os_str().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let path = PathBuf::from(name);
        fs::create_dir_all(&path).map_err(|error| unwritable(&path, &error))?;
        let path = path.canonicalize().map_err(|error| unwritable(&path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    let message = format!("{} cannot be written: {error}", path.display());
    Error::new(Code::Output, message, "choose a folder that you can write to, with 2 GB of room")
}
