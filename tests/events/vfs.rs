//! A layer under SQLite by which a test ends the process at any write, as kill -9 or a power cut would, or fills the disk.
//!
//! A power cut keeps what was synced. Of every 512-byte sector that was written since, it keeps any one of the contents
//! that it had: the old one, the last one, or one in between.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rusqlite::ffi::{self, SQLITE_FULL, SQLITE_OK, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use crate::common::Noise;

const SECTOR: u64 = 512;

/// What is to happen, and what was counted.
#[derive(Default)]
pub struct Plan {
    /// Writes, truncations and syncs so far.
    pub count: u64,
    /// The process ends at this one.
    pub end_at: Option<u64>,
    /// What is not synced is then lost at random, from this seed.
    pub power_cut: Option<u64>,
    /// Folders in which no file may grow.
    pub full: Vec<PathBuf>,
    /// Of each file the sectors that were written since its last sync, with all that they held since.
    dirty: HashMap<PathBuf, BTreeMap<u64, Vec<Vec<u8>>>>,
}

/// The plan of this process.
pub fn plan() -> MutexGuard<'static, Plan> {
    static PLAN: OnceLock<Mutex<Plan>> = OnceLock::new();
    PLAN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the layer under everything that SQLite opens in this process from now on.
pub fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // SAFETY: the default layer lives as long as the process, as does the leaked copy, which differs from it in its
        // name, in the size of a file and in how one is opened.
        unsafe {
            let base = ffi::sqlite3_vfs_find(std::ptr::null());
            assert!(!base.is_null());
            let mut layer = Box::new(*base);
            layer.zName = c"layer".as_ptr();
            layer.szOsFile = size_of::<Layered>() as c_int + (*base).szOsFile;
            layer.xOpen = Some(open);
            layer.pNext = std::ptr::null_mut();
            BASE.set(Base(base)).ok().expect("installed once");
            assert_eq!(ffi::sqlite3_vfs_register(Box::leak(layer), 1), SQLITE_OK);
        }
    });
}

struct Base(*mut sqlite3_vfs);
// SAFETY: SQLite's layers may be used from any thread.
unsafe impl Send for Base {}
// SAFETY: likewise.
unsafe impl Sync for Base {}
static BASE: OnceLock<Base> = OnceLock::new();

/// What SQLite takes for a file; the real one follows it in memory.
#[repr(C)]
struct Layered {
    methods: *const sqlite3_io_methods,
    path: *mut PathBuf,
}

unsafe fn real(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: SQLite made room for both, as `szOsFile` told it.
    unsafe { file.cast::<Layered>().add(1).cast() }
}

unsafe fn path<'a>(file: *mut sqlite3_file) -> &'a Path {
    // SAFETY: set in `open`, freed in `close`.
    unsafe { &*(*file.cast::<Layered>()).path }
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: the arguments are SQLite's own, and `file` has the size that the layer asked for.
    unsafe {
        let base = BASE.get().expect("installed").0;
        let layered = file.cast::<Layered>();
        let result = (*base).xOpen.expect("a layer opens files")(base, name, real(file), flags, out);
        (*layered).methods = std::ptr::null();
        if !(*real(file)).pMethods.is_null() {
            let path = if name.is_null() {
                PathBuf::new()
            } else {
                PathBuf::from(std::ffi::OsStr::from_bytes(CStr::from_ptr(name).to_bytes()))
            };
            (*layered).path = Box::into_raw(Box::new(path));
            (*layered).methods = &METHODS;
        }
        result
    }
}

/// Passes a call on to the real file.
macro_rules! pass {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty = $method:ident;)*) => { $(
        unsafe extern "C" fn $name(file: *mut sqlite3_file, $($argument: $kind),*) -> $result {
            // SAFETY: the arguments are SQLite's own, and the real file is open.
            unsafe {
                let file = real(file);
                (*(*file).pMethods).$method.expect("a real file has it")(file, $($argument),*)
            }
        }
    )* };
}

pass! {
    read(to: *mut c_void, amount: c_int, from: sqlite3_int64) -> c_int = xRead;
    write_real(from: *const c_void, amount: c_int, to: sqlite3_int64) -> c_int = xWrite;
    truncate_real(size: sqlite3_int64) -> c_int = xTruncate;
    close_real() -> c_int = xClose;
    file_size(size: *mut sqlite3_int64) -> c_int = xFileSize;
    lock(kind: c_int) -> c_int = xLock;
    unlock(kind: c_int) -> c_int = xUnlock;
    check_reserved(out: *mut c_int) -> c_int = xCheckReservedLock;
    control(kind: c_int, argument: *mut c_void) -> c_int = xFileControl;
    sector_size() -> c_int = xSectorSize;
    characteristics() -> c_int = xDeviceCharacteristics;
    shm_map(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int = xShmMap;
    shm_lock(offset: c_int, count: c_int, flags: c_int) -> c_int = xShmLock;
    shm_barrier() -> () = xShmBarrier;
    shm_unmap(delete: c_int) -> c_int = xShmUnmap;
    fetch(from: sqlite3_int64, amount: c_int, out: *mut *mut c_void) -> c_int = xFetch;
    unfetch(from: sqlite3_int64, page: *mut c_void) -> c_int = xUnfetch;
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: Some(fetch),
    xUnfetch: Some(unfetch),
};

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the path was boxed in `open`, and SQLite closes a file once.
    unsafe {
        drop(Box::from_raw((*file.cast::<Layered>()).path));
        close_real(file)
    }
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, amount: c_int, to: sqlite3_int64) -> c_int {
    // SAFETY: the arguments are SQLite's own.
    unsafe {
        let (path, bytes) = (path(file), std::slice::from_raw_parts(from.cast::<u8>(), amount as usize));
        let mut plan = plan();
        if plan.full.iter().any(|folder| path.starts_with(folder)) {
            let mut size = 0;
            file_size(file, &mut size);
            if to + sqlite3_int64::from(amount) > size {
                return SQLITE_FULL;
            }
        }
        if plan.count_up() {
            // Killed in the middle of the write.
            let part = Noise(plan.count).next() as usize % (bytes.len() + 1);
            plan.note(path, &bytes[..part], to as u64, file);
            write_real(file, from, part as c_int, to);
            plan.end();
        }
        plan.note(path, bytes, to as u64, file);
        write_real(file, from, amount, to)
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    // SAFETY: the arguments are SQLite's own.
    unsafe {
        let mut plan = plan();
        if plan.count_up() {
            plan.end();
        }
        if let Some(dirty) = plan.dirty.get_mut(path(file)) {
            dirty.retain(|sector, _| sector * SECTOR < size as u64);
        }
        truncate_real(file, size)
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the arguments are SQLite's own.
    unsafe {
        let mut plan = plan();
        if plan.count_up() {
            plan.end();
        }
        plan.dirty.remove(path(file));
        // The machine does not end, only processes of these tests: what the kernel has is safe.
        SQLITE_OK
    }
}

impl Plan {
    /// Counts an operation; whether it is the last one.
    fn count_up(&mut self) -> bool {
        self.count += 1;
        self.end_at == Some(self.count)
    }

    /// Notes what a write will make of each sector. `file` still has the old content.
    unsafe fn note(&mut self, path: &Path, bytes: &[u8], to: u64, file: *mut sqlite3_file) {
        if self.power_cut.is_none() || bytes.is_empty() {
            return;
        }
        let dirty = self.dirty.entry(path.to_owned()).or_default();
        for sector in to / SECTOR..=(to + bytes.len() as u64 - 1) / SECTOR {
            let start = sector * SECTOR;
            let mut content = vec![0u8; SECTOR as usize];
            // SAFETY: the buffer has the size that is read; SQLite fills what lies beyond the end with zeros.
            unsafe { read(file, content.as_mut_ptr().cast(), SECTOR as c_int, start as sqlite3_int64) };
            let versions = dirty.entry(sector).or_insert_with(|| vec![content.clone()]);
            for (at, byte) in content.iter_mut().enumerate() {
                let place = start + at as u64;
                if (to..to + bytes.len() as u64).contains(&place) {
                    *byte = bytes[(place - to) as usize];
                }
            }
            versions.push(content);
        }
    }

    /// Ends the process, as kill -9 or as a power cut.
    fn end(&mut self) -> ! {
        if let Some(seed) = self.power_cut {
            let mut noise = Noise(seed);
            let mode = noise.next() % 4;
            for (path, dirty) in &self.dirty {
                let Ok(file) = OpenOptions::new().write(true).open(path) else { continue };
                let size = file.metadata().map_or(0, |meta| meta.len());
                for (sector, versions) in dirty {
                    // All lost, all kept, or any.
                    let kept = match mode {
                        0 => 0,
                        1 => versions.len() - 1,
                        _ => noise.next() as usize % versions.len(),
                    };
                    let room = size.saturating_sub(sector * SECTOR).min(SECTOR) as usize;
                    file.write_all_at(&versions[kept][..room], sector * SECTOR).expect("a sector is written");
                }
            }
        }
        std::process::abort()
    }
}
