//! `lookout flash list`

use serde::Serialize;

use crate::flash::Device;

use super::super::console::{Console, Outcome};

#[derive(Serialize)]
struct Listed {
    task: &'static str,
    devices: Vec<Device>,
}

pub(super) fn run(console: &Console) -> Outcome {
    let listed = Listed { task: "flash list", devices: Device::list()? };
    console.answer(&listed, || {
        let line = |device: &Device| {
            let uses = match (device.system, &device.used_by[..]) {
                (true, uses) => format!("this machine runs from it: {}", uses.join(", ")),
                (false, []) => "free".to_owned(),
                (false, uses) => format!("in use: {}", uses.join(", ")),
            };
            format!("{:14} {:36} {uses}\n", device.path.display(), device.describe())
        };
        match &listed.devices[..] {
            [] => "there are none\n".to_owned(),
            devices => devices.iter().map(line).collect(),
        }
    })
}
