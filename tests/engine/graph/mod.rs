//! Small ONNX files and bundles, written byte by byte: tests need graphs that no exporter would make.
#![allow(dead_code)]

#[cfg(feature = "engine")]
pub mod tower;

use std::fmt::Write as _;
use std::path::Path;

use lookout::bundle::{Bundle, Digest};

/// A protobuf message.
#[derive(Clone, Default)]
pub struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, mut value: u64) -> Self {
        while value >= 128 {
            self.0.push(value as u8 | 128);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    pub fn int(self, field: u64, value: i64) -> Self {
        self.varint(field << 3).varint(value as u64)
    }

    pub fn bytes(self, field: u64, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let mut message = self.varint(field << 3 | 2).varint(value.len() as u64);
        message.0.extend_from_slice(value);
        message
    }

    fn float(self, field: u64, value: f32) -> Self {
        let mut message = self.varint(field << 3 | 5);
        message.0.extend_from_slice(&value.to_le_bytes());
        message
    }

    pub fn message(self, field: u64, value: Message) -> Self {
        self.bytes(field, value.0)
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

pub enum Attribute<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Float(f32),
    Text(&'a str),
}

/// Element types that the tests use.
pub trait Element: Copy {
    const CODE: i64;
    fn put(self, bytes: &mut Vec<u8>);
}

macro_rules! element {
    ($type:ty, $code:literal) => {
        impl Element for $type {
            const CODE: i64 = $code;
            fn put(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
        }
    };
}
element!(f32, 1);
element!(u8, 2);
element!(i8, 3);
element!(i32, 6);
element!(i64, 7);

/// A dimension that is a number or a symbol.
#[derive(Clone, Copy)]
pub enum Dim {
    Is(i64),
    Named(&'static str),
}

/// An ONNX graph under construction.
#[derive(Clone, Default)]
pub struct Graph(Message);

impl Graph {
    pub fn input<T: Element>(self, name: &str, shape: &[Dim]) -> Self {
        Graph(self.0.message(11, value_info(name, T::CODE, Some(shape))))
    }

    pub fn output(self, name: &str) -> Self {
        Graph(self.0.message(12, value_info(name, f32::CODE, None)))
    }

    pub fn constant<T: Element>(self, name: &str, shape: &[usize], values: &[T]) -> Self {
        let mut raw = Vec::new();
        values.iter().for_each(|v| v.put(&mut raw));
        let mut tensor = Message::default();
        for dim in shape {
            tensor = tensor.int(1, *dim as i64);
        }
        Graph(self.0.message(5, tensor.int(2, T::CODE).bytes(8, name).bytes(9, raw)))
    }

    /// A constant whose values lie in another file.
    pub fn elsewhere(self, name: &str, path: &str) -> Self {
        let location = Message::default().bytes(1, "location").bytes(2, path);
        let tensor = Message::default().int(1, 1).int(2, f32::CODE).bytes(8, name).message(13, location).int(14, 1);
        Graph(self.0.message(5, tensor))
    }

    pub fn node(self, op: &str, inputs: &[&str], output: &str, attributes: &[(&str, Attribute)]) -> Self {
        self.node_of_many(op, inputs, &[output], attributes)
    }

    /// A node with several outputs, named after the first.
    pub fn node_of_many(self, op: &str, inputs: &[&str], outputs: &[&str], attributes: &[(&str, Attribute)]) -> Self {
        let mut node = Message::default();
        for input in inputs {
            node = node.bytes(1, input);
        }
        for output in outputs {
            node = node.bytes(2, output);
        }
        node = node.bytes(3, outputs[0]).bytes(4, op);
        for (name, value) in attributes {
            let attribute = Message::default().bytes(1, name);
            let attribute = match value {
                Attribute::Float(v) => attribute.float(2, *v).int(20, 1),
                Attribute::Int(v) => attribute.int(3, *v).int(20, 2),
                Attribute::Text(v) => attribute.bytes(4, v).int(20, 3),
                Attribute::Ints(v) => v.iter().fold(attribute, |a, v| a.int(8, *v)).int(20, 7),
            };
            node = node.message(5, attribute);
        }
        if op.starts_with("Lookout") {
            node = node.bytes(7, "lookout");
        }
        Graph(self.0.message(1, node))
    }

    pub fn finish(self) -> Vec<u8> {
        let opset = |domain: &str, version| Message::default().bytes(1, domain).int(2, version);
        let model = Message::default().int(1, 8).message(7, self.0.bytes(2, "test"));
        model.message(8, opset("", 17)).message(8, opset("lookout", 1)).finish()
    }
}

fn value_info(name: &str, code: i64, shape: Option<&[Dim]>) -> Message {
    let mut tensor = Message::default().int(1, code);
    if let Some(shape) = shape {
        let dims = shape.iter().fold(Message::default(), |shape, dim| {
            shape.message(
                1,
                match dim {
                    Dim::Is(value) => Message::default().int(1, *value),
                    Dim::Named(name) => Message::default().bytes(2, name),
                },
            )
        });
        tensor = tensor.message(2, dims);
    }
    Message::default().bytes(1, name).message(2, Message::default().message(1, tensor))
}

/// Writes a bundle: `sections` of the manifest, and a file for each role.
pub fn bundle(folder: &Path, sections: &str, files: &[(&str, &[u8])]) -> Bundle {
    let mut manifest = format!("format = 1\nname = \"tiny\"\nversion = \"1\"\nlicence = \"MIT\"\n{sections}\n");
    for (role, bytes) in files {
        let path = if role.ends_with("tokenizer") { format!("{role}.json") } else { format!("{role}.onnx") };
        std::fs::write(folder.join(&path), bytes).expect("a temporary folder can be written");
        let (digest, size) = (Digest::of(bytes), bytes.len());
        writeln!(manifest, "[files.{role}]\npath = \"{path}\"\nsha256 = \"{digest}\"\nbytes = {size}").expect("text");
    }
    std::fs::write(folder.join("lookout.toml"), manifest).expect("a temporary folder can be written");
    Bundle::open(folder).expect("the bundle is sound")
}

/// `[picture]` of a size and `[embedding]` of a width.
pub fn picture(height: usize, width: usize, embedding: usize) -> String {
    format!(
        "[picture]\nwidth = {width}\nheight = {height}\nrule = \"stretch\"\nfilter = \"bilinear\"\n\
         mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n[embedding]\nwidth = {embedding}\n"
    )
}

/// Deterministic floats in -1..1.
pub struct Noise(pub u32);

impl Noise {
    pub fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        (f64::from(self.0) / f64::from(u32::MAX) * 2.0 - 1.0) as f32
    }

    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }

    pub fn bytes(&mut self, count: usize) -> Vec<i8> {
        (0..count).map(|_| (self.next() * 127.0) as i8).collect()
    }
}
