//! What a person types.

use serde_json::Value;

use crate::complaint::nearest;
use crate::protocol::Question;
use crate::watch::Request;
use crate::{Code, Error, Result};

use super::wire;

/// What a line asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    /// Enter alone.
    Greet,
    /// What is not for us: a remark, or an echo of what we said ourselves.
    Ignore,
    /// A modem's `AT`, which answers `OK`.
    Attention,
    /// Another of a modem's commands, which answers `ERROR` as modems do. Desktop computers try them on any port.
    Modem,
    /// Which words there are.
    Help,
    /// Whether to show what is typed.
    Echo(bool),
    /// A question, and the id of its answer where one was given.
    Ask(Request, Option<Value>),
    /// The part of the newest snapshot from this byte on.
    Part(usize),
    /// Whether to tell events.
    Events(bool),
    /// Which triggers there are.
    Triggers,
    /// Whether triggers may begin events.
    Arm(bool),
    /// Which camera questions are about from now on; the first one where none is named.
    Camera(Option<String>),
}

/// Every word, and what follows it.
const WORDS: [(&str, &str, &str); 16] = [
    ("label", " a dog, a cat", "which of these labels fit?"),
    ("caption", "", "what is to be seen?"),
    ("ground", " the red car", "where is it? boxes [x, y, width, height] in pixels"),
    ("ask", " how many chairs?", "a short answer"),
    ("check", " a cat on a couch", "does the picture support this sentence?"),
    ("find", " a dog on the sofa since 2d", "past events; also: top 5"),
    ("snapshot", "", "takes a picture; says its size and checksum"),
    ("snapshot get", " 0", "a part of it in base64, from this byte on"),
    ("status", "", "how the lookout is doing"),
    ("events", " on|off", "tell events as they happen"),
    ("triggers", "", "the triggers as they are set"),
    ("arm", "", "let triggers begin events"),
    ("disarm", "", "let them begin none"),
    ("camera", " door", "ask about this camera; without a name: the first one"),
    ("echo", " on|off", "show what is typed"),
    ("help", "", "this list"),
];

/// Reads a line. The error comes with the id that the answer should have.
pub(super) fn parse(line: &str, camera: Option<&str>) -> Result<Command, (Error, Option<Value>)> {
    if line.starts_with('{') {
        return json(line, camera);
    }
    words(line, camera).map_err(|error| (error, None))
}

/// Whether a line is understood. The error is the one that it would be answered with.
pub fn check_line(line: &str) -> Result<()> {
    parse(line, None).map(drop).map_err(|(error, _)| error)
}

/// The list of words, as remarks: a line that comes back as an echo does nothing.
pub(super) fn help() -> String {
    let line = |(word, rest, what): &(&str, &str, &str)| format!("# {:<34} {what}\r\n", format!("{word}{rest}"));
    let words: String = WORDS.iter().map(line).collect();
    format!("{words}# {:<34} the same questions with an id, in JSON\r\n", r#"{"task": "caption", "id": 1}"#)
}

fn json(line: &str, camera: Option<&str>) -> Result<Command, (Error, Option<Value>)> {
    match Request::from_json(line.as_bytes()) {
        Ok((mut request, id)) => {
            if request.camera.is_none() {
                request.camera = camera.map(str::to_owned);
            }
            Ok(Command::Ask(request, id))
        }
        Err(_) if is_ours(line) => Ok(Command::Ignore),
        Err(failed) => Err(failed),
    }
}

/// Whether a line is what this end writes. A terminal that echoes sends it back, and answering it would never end.
fn is_ours(line: &str) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else { return false };
    let has = |key: &str| fields.contains_key(key);
    has("error") || has("event") || has("triggers") || has("armed") || has("events") || has("bundle") || has("data")
}

fn words(line: &str, camera: Option<&str>) -> Result<Command> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (lower, rest) = (word.to_lowercase(), rest.trim());
    let ask = |question| wire::request(question, rest, camera).map(|request| Command::Ask(request, None));
    let alone = |command| if rest.is_empty() { Ok(command) } else { Err(too_much(&lower, rest)) };
    match lower.as_str() {
        "" => Ok(Command::Greet),
        "ok" | "error" => Ok(Command::Ignore),
        _ if word.starts_with('#') => Ok(Command::Ignore),
        "at" => Ok(Command::Attention),
        "label" => ask(Question::Label),
        "caption" => alone(ask(Question::Caption)?),
        "ground" => ask(Question::Ground),
        "ask" => ask(Question::Ask),
        "check" => ask(Question::Check),
        "find" => ask(Question::Find),
        "snapshot" => match rest.split_once(char::is_whitespace) {
            _ if rest.is_empty() => ask(Question::Snapshot),
            Some((get, offset)) if get.eq_ignore_ascii_case("get") => offset
                .trim()
                .parse()
                .map(Command::Part)
                .map_err(|_| usage(format!("{:?} is no number of a byte", shown(offset)), "write: snapshot get 0")),
            _ => Err(too_much(&lower, rest)),
        },
        "status" => {
            let status = Request { camera: None, question: crate::watch::Question::Status {}, picture: None };
            alone(Command::Ask(status, None))
        }
        "events" => switch(&lower, rest).map(Command::Events),
        "echo" => switch(&lower, rest).map(Command::Echo),
        "triggers" => alone(Command::Triggers),
        "arm" => alone(Command::Arm(true)),
        "disarm" => alone(Command::Arm(false)),
        "camera" => Ok(Command::Camera((!rest.is_empty()).then(|| rest.to_owned()))),
        "help" | "?" => Ok(Command::Help),
        _ if lower.starts_with("at") && word.contains(['+', '&', '=', '?']) => Ok(Command::Modem),
        _ => Err(unknown(word)),
    }
}

fn switch(word: &str, rest: &str) -> Result<bool> {
    match rest.to_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(usage(format!("`{word}` is on or off, not {:?}", shown(rest)), &format!("write: {word} on"))),
    }
}

fn unknown(word: &str) -> Error {
    let known: Vec<&str> = WORDS.iter().map(|(word, ..)| *word).filter(|word| !word.contains(' ')).collect();
    let hint = nearest(word, &known).map_or(String::new(), |near| format!("did you mean `{near}`? "));
    usage(format!("there is no command {:?}", shown(word)), &format!("{hint}type: help"))
}

fn too_much(word: &str, rest: &str) -> Error {
    usage(format!("`{word}` does not know {:?}", shown(rest)), "type: help")
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

fn usage(message: String, help: &str) -> Error {
    Error::new(Code::Usage, message, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(line: &str) -> String {
        match parse(line, Some("door")) {
            Ok(Command::Ask(request, _)) => {
                format!("{} {}", request.question.task(), request.camera.unwrap_or_default())
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn every_word_of_the_help_is_understood() {
        for (word, rest, _) in WORDS {
            for rest in rest.split('|') {
                let line = if rest == "off" { format!("{word} off") } else { format!("{word}{rest}") };
                assert!(parse(&line, None).is_ok(), "{line}: {:?}", parse(&line, None));
                assert!(parse(&line.to_uppercase(), None).is_ok(), "{line}");
            }
        }
        assert_eq!(task("label a dog, a cat"), "label door");
        assert_eq!(task("find a dog since 2d"), "find door");
        assert_eq!(task(r#"{"task":"caption"}"#), "caption door");
        assert_eq!(task(r#"{"task":"caption","camera":"yard"}"#), "caption yard");
    }

    #[test]
    fn what_is_not_understood_gets_a_suggestion() {
        for (line, help) in [
            ("lable a dog", "did you mean `label`?"),
            ("captoin", "did you mean `caption`?"),
            ("xyzzy", "type: help"),
            ("label", "at least one label"),
            ("events maybe", "write: events on"),
            ("status now", "type: help"),
            ("snapshot get x", "write: snapshot get 0"),
            (r#"{"task":"lable"}"#, "did you mean `label`?"),
        ] {
            let (error, _) = parse(line, None).unwrap_err();
            assert!(error.help().contains(help), "{line}: {}", error.help());
            assert!(!error.message().is_empty());
        }
        let (_, id) = parse(r#"{"task":"lable","id":7}"#, None).unwrap_err();
        assert_eq!(id, Some(7.into()));
    }

    #[test]
    fn an_echo_of_our_own_words_is_not_answered() {
        for line in
            [r#"{"error":{"code":"usage"}}"#, r#"{"event":{"id":1}}"#, "OK", "ERROR", "# lookout", r#"{"armed":true}"#]
        {
            assert_eq!(parse(line, None).unwrap(), Command::Ignore, "{line}");
        }
        assert!(help().lines().all(|line| parse(line, None).unwrap() == Command::Ignore));
        let reply = r#"{"task":"caption","camera":"door","bundle":"b","caption":"a dog","score":0.5,"ms":1.0}"#;
        assert_eq!(parse(reply, None).unwrap(), Command::Ignore);
    }

    #[test]
    fn modems_are_told_that_this_is_none() {
        assert_eq!(parse("AT", None).unwrap(), Command::Attention);
        assert_eq!(parse("at", None).unwrap(), Command::Attention);
        for line in ["AT+GCAP", "AT&F", "ATI?", "AT+CGMI=?"] {
            assert_eq!(parse(line, None).unwrap(), Command::Modem, "{line}");
        }
    }
}
