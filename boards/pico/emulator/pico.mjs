// A Raspberry Pi Pico that runs a UF2 file: node pico.mjs FIRMWARE.uf2 LINE BENCH
//
// LINE and BENCH are Unix sockets that it listens on. LINE is UART0. The bench sends letters: M and m, motion on and off; B
// and b, button pressed and released; X and x, display unplugged and plugged in; H, the processor is caught in an endless loop,
// F, a byte without its stop bit arrives; S, tell how much stack was never used. It is told, a line each: `r 1` the red pin is high; `i 3c 00ae` two bytes to the
// device 3c on the bus; `speed 115200` the UART is set; `reset`; `stack 60000`.
import fs from 'node:fs';
import net from 'node:net';
import { GPIOPinState, RP2040 } from 'rp2040js';

const [firmware, linePath, benchPath] = process.argv.slice(2);

const FLASH = 0x10000000;
const DISPLAY = 0x3c;
const LAMP = { 13: 'r', 14: 'g', 15: 'b' };
const MOTION = 2;
const BUTTON = 3;
// Memory that nothing was written to, and where the stack is: see ../rp2040/memory.x.
const UNTOUCHED = 0xa5;
const STACK = 64 * 1024;
// `b .`, behind the firmware's memory.
const ENDLESS = 0x20041000;
// In the UART's data register.
const FRAMING_ERROR = 1 << 8;
const SLICE_NS = 200_000;

const image = readUf2(fs.readFileSync(firmware));
const display = { unplugged: false };
let motion = false;
let pressed = false;
const arriving = [];
let line = null;
let bench = null;
let chip = null;
let clock = null;

function tell(text) {
  bench?.write(text + '\n');
}

function readUf2(file) {
  const flash = new Uint8Array(16 << 20).fill(0xff);
  for (let at = 0; at < file.length; at += 512) {
    const word = (offset) => file.readUInt32LE(at + offset);
    if (word(0) !== 0x0a324655 || word(4) !== 0x9e5d5157 || word(508) !== 0x0ab16f30) throw new Error(`block ${at / 512} is no UF2`);
    if (word(28) !== 0xe48bff56) throw new Error('it is not for the RP2040');
    flash.set(file.subarray(at + 32, at + 32 + word(16)), word(12) - FLASH);
  }
  return flash;
}

// Power on, or what the watchdog does: everything but its own registers starts anew.
function start(reason) {
  chip = new RP2040();
  clock = chip.clock;
  chip.logger = { debug() {}, info() {}, warn() {}, error: (...what) => console.error(...what) };
  chip.flash.set(image);
  chip.sram.fill(UNTOUCHED);
  const endless = ENDLESS - 0x20000000;
  chip.sram.set([0xfe, 0xe7], endless);
  // The boot ROM would check the second stage in flash and jump to it.
  chip.core.SP = 0x20041f00;
  chip.core.LR = 0;
  chip.core.PC = FLASH;

  const watchdog = chip.peripherals[0x40058];
  watchdog.reason = reason;
  watchdog.onWatchdogTrigger = () => {
    again = watchdog.reason;
    // It would go off again at the same time.
    watchdog.timer.enable = false;
  };
  // The register of receive errors, which this emulator lacks: there are none.
  const uart = chip.uart[0];
  const readUart = uart.readUint32.bind(uart);
  uart.readUint32 = (offset) => (offset === 4 ? 0 : readUart(offset));
  uart.onByte = (byte) => line?.write(Buffer.of(byte));
  uart.onBaudRateChange = (speed) => tell(`speed ${speed}`);

  const bus = chip.i2c[0];
  let written = [];
  bus.onStart = () => bus.completeStart();
  bus.onConnect = (address) => {
    written = [];
    bus.completeConnect(address === DISPLAY && !display.unplugged);
  };
  bus.onWriteByte = (byte) => {
    written.push(byte);
    bus.completeWrite(!display.unplugged);
  };
  bus.onStop = () => {
    if (written.length) tell(`i ${DISPLAY.toString(16)} ${Buffer.from(written).toString('hex')}`);
    written = [];
    bus.completeStop();
  };
  for (const [pin, letter] of Object.entries(LAMP)) {
    chip.gpio[pin].addListener((state) => tell(`${letter} ${state === GPIOPinState.High ? 1 : 0}`));
  }
  chip.gpio[MOTION].setInputValue(motion);
  chip.gpio[BUTTON].setInputValue(!pressed);
}

const orders = {
  M: () => chip.gpio[MOTION].setInputValue((motion = true)),
  m: () => chip.gpio[MOTION].setInputValue((motion = false)),
  B: () => chip.gpio[BUTTON].setInputValue(!(pressed = true)),
  b: () => chip.gpio[BUTTON].setInputValue(!(pressed = false)),
  X: () => (display.unplugged = true),
  x: () => (display.unplugged = false),
  H: () => {
    chip.core.PC = ENDLESS;
    chip.core.waiting = false;
  },
  F: () => arriving.push(FRAMING_ERROR),
  S: () => tell(`stack ${chip.sram.subarray(0, STACK).findIndex((byte) => byte !== UNTOUCHED)}`),
};

// The clock of the chip follows the clock of this machine, or falls behind where this machine is slow.
let again = null;
let began = process.hrtime.bigint();
let nextByteNs = 0;
function run() {
  const deadline = process.hrtime.bigint() + 20_000_000n;
  for (;;) {
    const wall = Number(process.hrtime.bigint() - began);
    if (clock.nanos >= wall) {
      setTimeout(run, 1);
      return;
    }
    // What was missed is not made up for.
    if (wall - clock.nanos > 100e6) began += BigInt(Math.floor(wall - clock.nanos - 100e6));
    const end = clock.nanos + SLICE_NS;
    while (clock.nanos < end && again === null) {
      const uart = chip.uart[0];
      if (arriving.length && clock.nanos >= nextByteNs && uart.enabled) {
        nextByteNs = clock.nanos + 10e9 / (uart.baudRate || 115200);
        // A full FIFO loses bytes, as the real one does.
        const byte = arriving.shift();
        if (!uart.rxFIFO.full) uart.feedByte(byte);
      }
      // SysTick does not end the sleep by itself in this emulator.
      if (chip.core.waiting && chip.core.interruptsUpdated && chip.core.checkForInterrupts()) chip.core.waiting = false;
      if (chip.core.waiting) {
        clock.tick(Math.min(clock.nanosToNextAlarm || SLICE_NS, end - clock.nanos, arriving.length ? 20_000 : SLICE_NS) || 1);
      } else {
        // An endless loop changes nothing: the clock may run ahead of it.
        const caught = chip.core.PC === ENDLESS;
        clock.tick(chip.core.executeInstruction() * (caught ? 8_000 : 8));
      }
    }
    if (again !== null) {
      const reason = again;
      again = null;
      tell('reset');
      start(reason);
      began = process.hrtime.bigint();
      nextByteNs = 0;
    }
    if (process.hrtime.bigint() > deadline) {
      setImmediate(run);
      return;
    }
  }
}

function listen(path, accept) {
  return new Promise((done) => {
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      accept(socket);
      server.close();
    });
    server.listen(path);
    server.on('connection', done);
  });
}

await Promise.all([
  listen(linePath, (socket) => {
    line = socket;
    socket.on('data', (bytes) => arriving.push(...bytes));
  }),
  listen(benchPath, (socket) => {
    bench = socket;
    socket.on('data', (letters) => [...letters.toString()].forEach((letter) => orders[letter]?.()));
    // The bench is gone: so is the board.
    socket.on('close', () => process.exit(0));
  }),
]);
start(0);
run();
