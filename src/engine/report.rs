//! Which part of a network runs on what.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::Serialize;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_hir::internal::*;

/// How many operators of a network run on lookout's own code and how many on tract's, by kind. Constants and reshapes,
/// which cost nothing, are not counted.
///
/// Lookout's int8 layers have their names in words (`linear`, `layer norm`), the others tract's (`EinSum` is a matrix
/// product).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// On lookout's own code.
    pub lookout: BTreeMap<String, usize>,
    /// On tract's.
    pub tract: BTreeMap<String, usize>,
}

impl Report {
    /// `whole`: lookout runs all of the network, moving and adding included.
    pub(super) fn of(model: &TypedModel, whole: bool) -> Report {
        let mut report = Report::default();
        for id in model.eval_order().unwrap_or_default() {
            let node = model.node(id);
            let reshape = node.op_as::<AxisOp>().is_some_and(|op| !matches!(op, AxisOp::Move(..)));
            if reshape || node.op_is::<Const>() || node.op_is::<TypedSource>() {
                continue;
            }
            let name = node.op().name();
            let ours = name.strip_prefix("Lookout");
            let side = if whole || ours.is_some() { &mut report.lookout } else { &mut report.tract };
            *side.entry(ours.map_or_else(|| name.to_string(), in_words)).or_default() += 1;
        }
        report
    }
}

impl Display for Report {
    /// `lookout: 73 linear, 26 layer norm; tract: 24 EinSum`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<String, usize>| {
            let mut counts: Vec<_> = counts.iter().collect();
            counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            let words: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
            if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
        };
        write!(f, "lookout: {}; tract: {}", list(&self.lookout), list(&self.tract))
    }
}

/// `LayerNorm` as `layer norm`.
fn in_words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}
