//! `peers tract|rten THREADS`: another engine behind the line protocol; `peers registers 1`: what one core of this machine can
//! do in int8, behind the same; `peers peak SECONDS`: the best of that.

mod peak;
#[cfg(feature = "rten")]
mod rten;
mod serve;
mod tract;

use serve::Fallible;

fn main() -> Fallible<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["tract", threads] => serve::serve(threads.parse()?, tract::load),
        #[cfg(feature = "rten")]
        ["rten", threads] => serve::serve(threads.parse()?, rten::load),
        ["registers", threads] => serve::serve(threads.parse()?, peak::load),
        ["peak", seconds] => peak::print(seconds.parse()?),
        _ => Err("usage: peers tract|rten|registers THREADS, or peers peak SECONDS".into()),
    }
}
