//! The board under the program: GPIO, temperature, and systemd.
