//! Caption words as the caption benchmarks count them.

/// Tokens that `pycocoevalcap` drops. Brackets stay in (as `-lrb-`), because its list is written in upper case while
/// its tokens are lower case; published scores carry that quirk, so ours do.
const DROPPED: [&str; 13] = ["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"];

/// Abbreviations that keep their full stop.
const ABBREVIATIONS: [&str; 45] = [
    "mr", "mrs", "ms", "dr", "st", "jr", "sr", "vs", "etc", "prof", "sgt", "capt", "lt", "col", "gen", "rev", "hon",
    "gov", "sen", "rep", "pres", "inc", "corp", "co", "ltd", "bros", "ave", "blvd", "mt", "ft", "dept", "jan", "feb",
    "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec", "al", "cf",
];

/// Words that the Penn Treebank writes as two.
const SPLIT_WORDS: [(&str, usize); 7] =
    [("cannot", 3), ("gonna", 3), ("gotta", 3), ("wanna", 3), ("gimme", 3), ("lemme", 3), ("more'n", 4)];

/// Endings that become a token of their own.
const CLITICS: [&str; 6] = ["'s", "'m", "'d", "'ll", "'ve", "'re"];

/// Lower-cased Penn Treebank tokens of one caption, without punctuation, as `pycocoevalcap` hands them to its scorers.
///
/// An adequate subset of the Stanford `PTBTokenizer`: contractions (`don't` is `do n't`), possessives, inner hyphens,
/// numbers, common abbreviations and acronyms. Emoticons, URLs and markup are not recognised.
/// Source: Penn Treebank tokenisation; `pycocoevalcap` 1.2.
pub fn caption_tokens(caption: &str) -> Vec<String> {
    let lower: Vec<char> = caption.chars().map(plain).flat_map(char::to_lowercase).collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < lower.len() {
        at += match lower[at] {
            c if c.is_whitespace() => 1,
            c if c.is_alphanumeric() => word(&lower, at, &mut tokens),
            '\'' => apostrophe(&lower, at, &mut tokens),
            _ => symbol(&lower, at, &mut tokens),
        };
    }
    tokens.retain(|token| !DROPPED.contains(&token.as_str()));
    tokens
}

/// Typographic quotes as their plain form.
fn plain(c: char) -> char {
    match c {
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{201c}' | '\u{201d}' => '"',
        '\u{2013}' | '\u{2014}' => '-',
        other => other,
    }
}

/// Takes one word that starts at `at`, with its clitics; the number of characters used.
fn word(text: &[char], at: usize, tokens: &mut Vec<String>) -> usize {
    let mut end = at + 1;
    while end < text.len() && (text[end].is_alphanumeric() || joins(text, at, end)) {
        end += 1;
    }
    let mut word: String = text[at..end].iter().collect();
    if text.get(end) == Some(&'.') && text.get(end + 1) != Some(&'.') && keeps_stop(&word, &text[end + 1..]) {
        word.push('.');
        end += 1;
    }
    split_word(word, tokens);
    end - at
}

/// Whether the mark at `end` belongs inside the word that began at `start`.
fn joins(text: &[char], start: usize, end: usize) -> bool {
    let (before, Some(&after)) = (text[end - 1], text.get(end + 1)) else { return false };
    if !before.is_alphanumeric() || !after.is_alphanumeric() {
        return false;
    }
    match text[end] {
        '-' | '/' | '_' | '@' => true,
        '.' => before.is_numeric() == after.is_numeric(),
        ',' | ':' => before.is_numeric() && after.is_numeric(),
        '\'' => before.is_alphabetic() && after.is_alphabetic() && !text[start..end].contains(&'\''),
        _ => false,
    }
}

/// Whether a full stop after `word` belongs to it.
fn keeps_stop(word: &str, rest: &[char]) -> bool {
    let letters = word.split('.').all(|part| part.chars().count() == 1 && part.chars().all(char::is_alphabetic));
    let number = word == "no" && rest.iter().find(|c| !c.is_whitespace()).is_some_and(|c| c.is_numeric());
    letters || number || ABBREVIATIONS.contains(&word)
}

/// Pushes `word` as the Penn Treebank cuts it.
fn split_word(word: String, tokens: &mut Vec<String>) {
    if let Some((_, cut)) = SPLIT_WORDS.iter().find(|(whole, _)| *whole == word) {
        tokens.extend([word[..*cut].to_owned(), word[*cut..].to_owned()]);
        return;
    }
    let clitic = CLITICS.into_iter().find(|clitic| word.ends_with(clitic));
    let cut = match clitic {
        Some(clitic) => word.len() - clitic.len(),
        None if word.len() > 3 && word.ends_with("n't") => word.len() - 3,
        None => {
            tokens.push(word);
            return;
        }
    };
    let ending = word[cut..].to_owned();
    split_word(word[..cut].to_owned(), tokens);
    tokens.push(ending);
}

/// An apostrophe that is not inside a word: a clitic set apart (`dog 's`), an elision (`'em`, `'tis`), or a quote.
fn apostrophe(text: &[char], at: usize, tokens: &mut Vec<String>) -> usize {
    let letters = text[at + 1..].iter().take_while(|c| c.is_alphanumeric()).count();
    let word: String = text[at..at + 1 + letters].iter().collect();
    match word.as_str() {
        "'tis" | "'twas" => {
            tokens.extend([word[..2].to_owned(), word[2..].to_owned()]);
            1 + letters
        }
        "'n" if text.get(at + 2) == Some(&'\'') => run(text, at, 3, tokens),
        "'em" | "'n" | "'cause" => {
            tokens.push(word);
            1 + letters
        }
        _ if CLITICS.contains(&word.as_str()) || is_decade(&word) => {
            tokens.push(word);
            1 + letters
        }
        _ => run(text, at, 1, tokens),
    }
}

/// `'80s`.
fn is_decade(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() == 4 && bytes[3] == b's' && bytes[1..3].iter().all(u8::is_ascii_digit)
}

/// A mark that is not part of a word.
fn symbol(text: &[char], at: usize, tokens: &mut Vec<String>) -> usize {
    let same = text[at..].iter().take_while(|c| **c == text[at]).count();
    let bracket = match text[at] {
        '(' => "-lrb-",
        ')' => "-rrb-",
        '[' => "-lsb-",
        ']' => "-rsb-",
        '{' => "-lcb-",
        '}' => "-rcb-",
        '?' | '!' => {
            let marks = text[at..].iter().take_while(|c| matches!(c, '?' | '!')).count();
            return run(text, at, marks, tokens);
        }
        '-' if same > 1 => {
            tokens.push("--".to_owned());
            return same;
        }
        '.' if same > 2 => return same,
        '"' | '\u{2026}' => return 1,
        _ => return run(text, at, 1, tokens),
    };
    tokens.push(bracket.to_owned());
    1
}

/// Pushes `count` characters as one token.
fn run(text: &[char], at: usize, count: usize, tokens: &mut Vec<String>) -> usize {
    tokens.push(text[at..at + count].iter().collect());
    count
}
