//! UART0. What comes is kept by an interrupt, so that nothing is lost while the display is written.

use core::cell::RefCell;
use core::convert::Infallible;

use critical_section::Mutex;
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};
use heapless::spsc::{Consumer, Producer, Queue};
use rp2040_hal::gpio::bank0::{Gpio0, Gpio1};
use rp2040_hal::gpio::{FunctionUart, Pin, PullNone, PullUp};
use rp2040_hal::pac::{self, interrupt};
use rp2040_hal::uart::{Enabled, Reader, UartPeripheral, Writer};

type Wires = (Pin<Gpio0, FunctionUart, PullNone>, Pin<Gpio1, FunctionUart, PullUp>);

/// Room for 89 ms at 115,200 bits a second; writing the display takes 25 ms.
const ROOM: usize = 1_024;

type Came = Result<u8, Damaged>;

/// The UART could not read a byte.
#[derive(Debug, Clone, Copy)]
pub struct Damaged;

/// Where the interrupt puts what comes.
struct Intake {
    reader: Reader<pac::UART0, Wires>,
    queue: Producer<'static, Came>,
}

static INTAKE: Mutex<RefCell<Option<Intake>>> = Mutex::new(RefCell::new(None));

/// The UART, with what has come.
pub struct Serial {
    writer: Writer<pac::UART0, Wires>,
    queue: Consumer<'static, Came>,
}

/// Starts to take what comes. To be called once: panics the second time.
pub fn start(uart: UartPeripheral<Enabled, pac::UART0, Wires>) -> Serial {
    let queue = cortex_m::singleton!(: Queue<Came, ROOM> = Queue::new()).expect("called once");
    let (producer, consumer) = queue.split();
    let (mut reader, writer) = uart.split();
    reader.enable_rx_interrupt();
    critical_section::with(|token| INTAKE.replace(token, Some(Intake { reader, queue: producer })));
    // SAFETY: what the handler needs is in its place, and no critical section depends on the interrupt being masked.
    unsafe { pac::NVIC::unmask(pac::Interrupt::UART0_IRQ) };
    Serial { writer, queue: consumer }
}

#[interrupt]
fn UART0_IRQ() {
    critical_section::with(|token| {
        let mut intake = INTAKE.borrow_ref_mut(token);
        let Some(Intake { reader, queue }) = intake.as_mut() else { return };
        let mut bytes = [0; 32];
        loop {
            let (came, damaged) = match reader.read_raw(&mut bytes) {
                Ok(length) => (&bytes[..length], false),
                Err(nb::Error::WouldBlock) => return,
                Err(nb::Error::Other(error)) => (error.discarded, true),
            };
            let came = came.iter().map(|byte| Ok(*byte)).chain(damaged.then_some(Err(Damaged)));
            // Of a full queue the newest is lost: the frame it was in is asked for again.
            came.for_each(|came| _ = queue.enqueue(came));
            if damaged {
                // What is left calls again.
                return;
            }
        }
    });
}

impl ErrorType for Serial {
    type Error = Damaged;
}

impl ReadReady for Serial {
    fn read_ready(&mut self) -> Result<bool, Damaged> {
        Ok(self.queue.ready())
    }
}

impl Read for Serial {
    /// Never waits: 0 where nothing has come.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Damaged> {
        let mut length = 0;
        while let Some(place) = buffer.get_mut(length) {
            match self.queue.peek() {
                Some(Ok(byte)) => *place = *byte,
                // What came before is given first.
                Some(Err(_)) if length > 0 => break,
                Some(Err(damaged)) => {
                    let damaged = *damaged;
                    self.queue.dequeue();
                    return Err(damaged);
                }
                None => break,
            }
            self.queue.dequeue();
            length += 1;
        }
        Ok(length)
    }
}

impl Write for Serial {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Damaged> {
        never(self.writer.write(bytes))
    }

    /// What is in the UART goes out by itself.
    fn flush(&mut self) -> Result<(), Damaged> {
        Ok(())
    }
}

fn never<T>(result: Result<T, Infallible>) -> Result<T, Damaged> {
    Ok(result.unwrap_or_else(|never| match never {}))
}

impl embedded_io::Error for Damaged {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidData
    }
}

impl core::fmt::Display for Damaged {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a byte could not be read from the UART")
    }
}

impl core::error::Error for Damaged {}
