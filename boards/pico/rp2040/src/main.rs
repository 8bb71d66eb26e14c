//! Firmware for a Raspberry Pi Pico beside a lookout. The wiring is in `boards/pico/README.md`.
#![no_std]
#![no_main]

mod serial;

use defmt_rtt as _;
use fugit::{ExtU32, RateExtU32};
use hal::clocks::{Clock, init_clocks_and_plls};
use hal::gpio::{FunctionI2C, FunctionUart, Pins, PullNone, PullUp};
use hal::i2c::I2C;
use hal::uart::{DataBits, StopBits, UartConfig, UartPeripheral};
use hal::watchdog::Watchdog;
use hal::{Sio, Timer, pac};
use lookout_panel::{Debounced, Lamp, Node, SETTINGS};
use rp2040_hal as hal;

/// What the chip's boot ROM loads first: it sets up the flash. It fits every flash chip.
#[unsafe(link_section = ".boot2")]
#[used]
pub static BOOT2_FIRMWARE: [u8; 256] = rp2040_boot2::BOOT_LOADER_GENERIC_03H;

/// The Pico's crystal.
const CRYSTAL_HZ: u32 = 12_000_000;

/// A firmware that does nothing for so long is stuck.
const STUCK_MS: u32 = 2_000;

#[hal::entry]
fn main() -> ! {
    // They are taken once, here.
    let mut board = pac::Peripherals::take().unwrap();
    let mut core = pac::CorePeripherals::take().unwrap();
    let by_watchdog = board.WATCHDOG.reason().read().timer().bit();

    let mut watchdog = Watchdog::new(board.WATCHDOG);
    // The crystal is what it is told to be, so the clocks can be had.
    let clocks = init_clocks_and_plls(
        CRYSTAL_HZ,
        board.XOSC,
        board.CLOCKS,
        board.PLL_SYS,
        board.PLL_USB,
        &mut board.RESETS,
        &mut watchdog,
    )
    .ok()
    .unwrap();
    let timer = Timer::new(board.TIMER, &mut board.RESETS, &clocks);
    let pins = Pins::new(board.IO_BANK0, board.PADS_BANK0, Sio::new(board.SIO).gpio_bank0, &mut board.RESETS);

    let uart_pins = (
        pins.gpio0.reconfigure::<FunctionUart, PullNone>(),
        // An end that is not connected is silent.
        pins.gpio1.reconfigure::<FunctionUart, PullUp>(),
    );
    let config = UartConfig::new(SETTINGS.baud.Hz(), DataBits::Eight, None, StopBits::One);
    // 115,200 bits a second can be made of the clock.
    let uart = UartPeripheral::new(board.UART0, uart_pins, &mut board.RESETS)
        .enable(config, clocks.peripheral_clock.freq())
        .ok()
        .unwrap();
    let uart = serial::start(uart);

    let bus = I2C::i2c0(
        board.I2C0,
        pins.gpio4.reconfigure::<FunctionI2C, PullUp>(),
        pins.gpio5.reconfigure::<FunctionI2C, PullUp>(),
        400.kHz(),
        &mut board.RESETS,
        &clocks.system_clock,
    );
    let motion = Debounced::high(pins.gpio2.into_pull_down_input());
    let button = Debounced::low(pins.gpio3.into_pull_up_input());
    let lamp = Lamp::new(
        pins.gpio13.into_push_pull_output(),
        pins.gpio14.into_push_pull_output(),
        pins.gpio15.into_push_pull_output(),
    );

    defmt::info!("started, by the watchdog: {}", by_watchdog);
    let seed = hal::rosc::RingOscillator::new(board.ROSC).initialize();
    let seed = (0..32).fold(0, |bits, _| bits << 1 | u32::from(seed.get_random_bit()));
    let mut node = Node::new(uart, motion, button, lamp, bus, SETTINGS, by_watchdog);
    node.number_from(seed);

    // The processor sleeps until the next millisecond.
    core.SYST.set_reload(clocks.system_clock.freq().to_kHz() - 1);
    core.SYST.clear_current();
    core.SYST.set_clock_source(cortex_m::peripheral::syst::SystClkSource::Core);
    core.SYST.enable_interrupt();
    core.SYST.enable_counter();

    watchdog.start(STUCK_MS.millis());
    loop {
        node.poll(timer.get_counter().ticks() / 1_000, |note| defmt::info!("{}", note));
        watchdog.feed();
        cortex_m::asm::wfi();
    }
}

#[cortex_m_rt::exception]
fn SysTick() {}

/// The watchdog restarts the board.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    loop {
        cortex_m::asm::nop();
    }
}
