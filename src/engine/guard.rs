//! Panics and errors of tract as sentences.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use tract_onnx::prelude::TractResult;

thread_local! {
    /// Whether this thread is inside tract, where a panic is caught and told as an error.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; errors and panics become a sentence. Such a panic is not printed; all others are, as before.
pub(super) fn guarded<T>(work: impl FnOnce() -> TractResult<T>) -> std::result::Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !INSIDE.get() {
                print(panic);
            }
        }));
    });
    let before = INSIDE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(before);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(shortened(&format!("{error:#}"))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(format!("tract gave up: {}", shortened(text.unwrap_or("no reason given"))))
        }
    }
}

/// tract's messages can hold a whole node: the first 400 characters, on one line.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(400) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}
