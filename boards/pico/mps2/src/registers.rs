//! The CMSDK's UART and watchdog, as in Arm's "Cortex-M System Design Kit Technical Reference Manual" (DDI 0479).

use core::convert::Infallible;
use core::mem::MaybeUninit;

use embedded_io::{ErrorType, Read, ReadReady, Write};

const DATA: usize = 0x00;
const STATE: usize = 0x04;
const CONTROL: usize = 0x08;
const DIVIDER: usize = 0x10;

const TX_FULL: u32 = 1;
const RX_FULL: u32 = 2;

/// A UART.
#[derive(Clone, Copy)]
pub struct Uart(usize);

impl Uart {
    /// To the lookout.
    pub const LINE: Self = Self(0x4000_4000);
    /// To the test bench.
    pub const BENCH: Self = Self(0x4000_5000);

    pub fn start(self) {
        // 115,200 of 25 MHz.
        write(self.0 + DIVIDER, 217);
        // Both directions.
        write(self.0 + CONTROL, 3);
    }

    pub fn get(self) -> Option<u8> {
        (read(self.0 + STATE) & RX_FULL != 0).then(|| read(self.0 + DATA) as u8)
    }

    pub fn put(self, byte: u8) {
        while read(self.0 + STATE) & TX_FULL != 0 {}
        write(self.0 + DATA, byte.into());
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(read(self.0 + STATE) & RX_FULL != 0)
    }
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let mut length = 0;
        while let Some(place) = buffer.get_mut(length) {
            let Some(byte) = self.get() else { break };
            *place = byte;
            length += 1;
        }
        Ok(length)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        bytes.iter().for_each(|byte| self.put(*byte));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

const WATCHDOG: usize = 0x4000_8000;
const WATCHDOG_LOAD: usize = WATCHDOG;
const WATCHDOG_CONTROL: usize = WATCHDOG + 0x08;
const WATCHDOG_CLEAR: usize = WATCHDOG + 0x0C;
const WATCHDOG_LOCK: usize = WATCHDOG + 0xC00;

const UNLOCK: u32 = 0x1ACC_E551;

/// The watchdog. It raises an interrupt when it first reaches zero, and resets the second time.
pub struct Watchdog;

impl Watchdog {
    /// Starts it, with half its time in ticks of the clock.
    pub fn start(half: u32) -> Self {
        write(WATCHDOG_LOCK, UNLOCK);
        write(WATCHDOG_LOAD, half);
        // Interrupt and reset.
        write(WATCHDOG_CONTROL, 3);
        write(WATCHDOG_LOCK, 0);
        Self
    }

    pub fn feed(&mut self) {
        write(WATCHDOG_LOCK, UNLOCK);
        write(WATCHDOG_CLEAR, 1);
        write(WATCHDOG_LOCK, 0);
    }
}

/// The watchdog's first time; the second one resets.
#[cortex_m_rt::exception]
unsafe fn NonMaskableInt() {}

/// Whether the firmware ran before without a loss of power. This board does not tell why it was reset.
pub fn was_running() -> bool {
    const MARK: u32 = 0x6C6F_6F6B;
    #[unsafe(link_section = ".uninit.RUNNING")]
    static mut RUNNING: MaybeUninit<u32> = MaybeUninit::uninit();
    let running = (&raw mut RUNNING).cast::<u32>();
    // SAFETY: it is used nowhere else; a volatile read of a word that holds whatever was left there.
    unsafe {
        let was = running.read_volatile() == MARK;
        running.write_volatile(MARK);
        was
    }
}

fn read(address: usize) -> u32 {
    // SAFETY: only registers of this board are read.
    unsafe { (address as *const u32).read_volatile() }
}

fn write(address: usize, value: u32) {
    // SAFETY: only registers of this board are written.
    unsafe { (address as *mut u32).write_volatile(value) }
}
