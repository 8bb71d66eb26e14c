//! The Pico's UF2 file in rp2040js, beside the real daemon.

mod common;
mod promises;

use common::Kind;

const KIND: Kind = Kind::Pico;

#[test]
fn an_event_motion_and_the_button_are_shown() {
    promises::an_event_motion_and_the_button_are_shown(KIND);
}

#[test]
fn a_stuck_firmware_is_restarted_by_the_watchdog() {
    promises::a_stuck_firmware_is_restarted_by_the_watchdog(KIND);
}

#[test]
#[ignore = "long: make test-boards"]
fn noise_on_the_line_is_survived() {
    promises::noise_on_the_line_is_survived(KIND);
}

#[test]
#[ignore = "long: make test-boards"]
fn a_daemon_that_is_killed_is_missed_and_found_again() {
    promises::a_daemon_that_is_killed_is_missed_and_found_again(KIND);
}

#[test]
fn another_version_of_the_protocol_is_told() {
    promises::another_version_of_the_protocol_is_told(KIND);
}

#[test]
#[ignore = "long: make test-boards"]
fn a_display_may_come_and_go() {
    promises::a_display_may_come_and_go(KIND);
}

#[test]
#[ignore = "long: make test-boards"]
fn another_speed_is_told() {
    promises::another_speed_is_told(KIND);
}
