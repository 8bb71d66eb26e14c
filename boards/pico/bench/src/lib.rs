//! Firmware beside the real daemon, on a desk that is a program.
//!
//! | file | what it holds |
//! |---|---|
//! | `uf2` | an ELF file to a UF2 file, and what it takes of the memory |
//! | `ssd1306` | writes to a display's controller to pixels |
//! | `reading` | pixels to text |
//! | `speed` | bytes that one UART sends to what another one, of another speed, takes them for |

pub mod reading;
pub mod speed;
pub mod ssd1306;
pub mod uf2;
