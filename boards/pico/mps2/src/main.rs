//! The firmware of `../rp2040` on the board mps2-an386 of QEMU, a Cortex-M4. UART0 is the line to the lookout. On UART1 there
//! is a test bench in place of pins and a bus: it sends the letters of [`bench`], and is told the lamp and every write to the
//! display.
#![no_std]
#![no_main]

mod bench;
mod registers;

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::syst::SystClkSource;
use defmt_rtt as _;
use lookout_panel::{Debounced, Lamp, Node, SETTINGS};

use bench::{Bus, Colour, Input};
use registers::{Uart, Watchdog};

const CLOCK_HZ: u32 = 25_000_000;

/// A firmware that does nothing for so long is stuck.
const STUCK_MS: u32 = 2_000;

static NOW_MS: AtomicU32 = AtomicU32::new(0);

defmt::timestamp!("{=u32:ms}", NOW_MS.load(Ordering::Relaxed));

#[cortex_m_rt::entry]
fn main() -> ! {
    // They are taken once, here.
    let mut core = cortex_m::Peripherals::take().unwrap();
    core.SYST.set_clock_source(SystClkSource::Core);
    core.SYST.set_reload(CLOCK_HZ / 1_000 - 1);
    core.SYST.clear_current();
    core.SYST.enable_interrupt();
    core.SYST.enable_counter();

    let by_watchdog = registers::was_running();
    let (line, bench) = (Uart::LINE, Uart::BENCH);
    line.start();
    bench.start();
    let motion = Debounced::high(Input::motion());
    let button = Debounced::low(Input::button());
    let lamp = Lamp::new(Colour::new('r'), Colour::new('g'), Colour::new('b'));
    defmt::info!("started, by the watchdog: {}", by_watchdog);
    let mut node = Node::new(line, motion, button, lamp, Bus, SETTINGS, by_watchdog);

    let mut watchdog = Watchdog::start(CLOCK_HZ / 1_000 * STUCK_MS / 2);
    let (mut last, mut now) = (0, 0_u64);
    loop {
        let ms = NOW_MS.load(Ordering::Relaxed);
        now += u64::from(ms.wrapping_sub(last));
        last = ms;
        bench::look();
        node.poll(now, |note| defmt::info!("{}", note));
        watchdog.feed();
        cortex_m::asm::wfi();
    }
}

#[cortex_m_rt::exception]
fn SysTick() {
    NOW_MS.fetch_add(1, Ordering::Relaxed);
}

/// The watchdog restarts the board.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    loop {
        cortex_m::asm::nop();
    }
}
