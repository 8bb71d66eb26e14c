//! Whoever comes to the page with something bad gets a clear answer, and everybody else goes on being served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::common::{Served, TOKEN, TestDesk, get, send, wait};
use lookout::Code;
use lookout::link::web::{WebConfig, start};

/// What comes back for these bytes until the other side hangs up.
fn raw(served: &Served, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(served.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The other side may hang up before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"))
}

#[test]
fn beyond_loopback_nothing_starts_without_a_token() {
    let config = WebConfig { listen: "0.0.0.0:0".to_owned(), ..WebConfig::default() };
    let error = start(&config, TestDesk::new()).err().unwrap();
    assert_eq!(error.code(), Code::Config);
    assert!(error.help().contains("token_file"), "{}", error.help());
}

#[test]
fn an_address_that_is_taken_is_said() {
    let served = Served::open();
    let config = WebConfig { listen: served.address.to_string(), ..WebConfig::default() };
    let error = start(&config, TestDesk::new()).err().unwrap();
    assert_eq!(error.code(), Code::Link);
    assert!(error.message().contains(&served.address.to_string()) && error.help().contains("another"), "{error}");
}

#[test]
fn an_address_that_the_machine_does_not_have_is_waited_for() {
    let config = WebConfig { listen: "192.0.2.1:8040".to_owned(), ..WebConfig::default() };
    let folder = tempfile::tempdir().unwrap();
    let token: PathBuf = folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let mut link = start(&WebConfig { token_file: Some(token), ..config }, TestDesk::new()).unwrap();
    let status = wait("it says why it is down", || {
        Some(link.status()).filter(|status| status.note.as_deref().is_some_and(|note| note.contains("192.0.2.1")))
    });
    assert!(!status.up);
    let until = Instant::now() + Duration::from_secs(10);
    link.stop(until);
    assert!(Instant::now() < until);
}

#[test]
fn strangers_see_the_login_form_and_one_word_about_the_health() {
    let served = Served::with_token();
    for path in ["/api/status", "/api/frame.jpg", "/metrics", "/page.js", "/api", "/api/stream", "/nothing"] {
        let got = get(&served, path);
        assert_eq!((got.status, &*got.code()), (401, "unauthorized"), "{path}");
        assert!(got.header("www-authenticate").starts_with("Bearer"), "{path}");
    }
    let front = get(&served, "/");
    assert_eq!((front.status, front.header("location")), (303, "/login"));
    assert!(get(&served, "/login").text().contains("name=\"token\""));
    served.desk.stall(Some("the camera in the bedroom"));
    assert_eq!((get(&served, "/healthz").status, get(&served, "/healthz").text()), (503, "not ok\n"));
    let bearer = format!("Bearer {TOKEN}");
    let known = send(&served, "GET", "/healthz", &[("Authorization", &bearer)], "");
    assert_eq!((known.status, known.text()), (503, "the camera in the bedroom\n"));
    let long = format!("Bearer {}", "x".repeat(4_000));
    for wrong in ["Bearer", "Bearer ", "Basic 0123456789abcdef", "bearer 0123456789abcdef", &long] {
        assert_eq!(send(&served, "GET", "/api/status", &[("Authorization", wrong)], "").status, 401, "{wrong}");
    }
    assert_eq!(send(&served, "GET", "/api/status", &[("Authorization", &bearer)], "").status, 200);
    let in_the_address = get(&served, &format!("/api/status?token={TOKEN}"));
    assert_eq!(in_the_address.status, 401, "a token in an address counts for nothing");
}

#[test]
fn a_login_gives_a_cookie_that_scripts_cannot_read_and_guessing_is_slowed() {
    let served = Served::with_token();
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let login = |token: &str| send(&served, "POST", "/login", &form, &format!("token={token}"));
    let welcome = login(TOKEN);
    assert_eq!((welcome.status, welcome.header("location")), (303, "/"));
    let set = welcome.header("set-cookie").to_owned();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && !set.contains(TOKEN), "{set}");
    let cookie = set.split(';').next().unwrap();
    let with = |cookie: &str| send(&served, "GET", "/api/status", &[("Cookie", cookie)], "").status;
    assert_eq!((with(cookie), with(&format!("{cookie}0")), with("lookout=")), (200, 401, 401));
    let out = send(&served, "POST", "/logout", &[("Cookie", cookie)], "");
    assert!(out.header("set-cookie").contains("Max-Age=0"), "{}", out.header("set-cookie"));

    let wrong = login("wrong");
    assert_eq!(wrong.status, 401);
    assert!(wrong.text().contains("That is not the token") && !wrong.text().contains("hidden>"));
    assert_eq!(send(&served, "POST", "/login", &form, "tokn=x").status, 400);
    for _ in 0..4 {
        assert_eq!(login("wrong").status, 401);
    }
    let later = login(TOKEN);
    assert_eq!((later.status, &*later.code()), (429, "busy"), "even the right one waits now");
    assert!(later.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!(with(cookie), 200, "whoever is in stays in");
}

#[test]
fn pages_of_other_sites_can_change_nothing_and_read_nothing() {
    let served = Served::open();
    let own = format!("http://{}", served.address);
    let port = served.address.port();
    let arm = |headers: &[(&str, &str)]| send(&served, "POST", "/api/arm", headers, r#"{"armed": false}"#).status;
    for origin in
        ["https://evil.example", "null", &format!("http://127.0.0.1:{}", port ^ 1), &format!("{own}.evil.example"), ""]
    {
        assert_eq!(arm(&[("Origin", origin)]), 403, "{origin}");
    }
    assert_eq!(arm(&[("Sec-Fetch-Site", "cross-site")]), 403);
    assert_eq!(arm(&[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")]), 403, "a form of another site");
    assert!(served.desk.armed(), "none of it came through");
    assert_eq!(arm(&[("Origin", &own), ("Sec-Fetch-Site", "same-origin")]), 200);
    let picture = |site, mode| {
        send(&served, "GET", "/api/frame.jpg", &[("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode)], "").status
    };
    assert_eq!(
        (picture("cross-site", "no-cors"), picture("same-site", "no-cors")),
        (403, 403),
        "nor embed the picture"
    );
    let link = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")];
    assert_eq!(send(&served, "GET", "/", &link, "").status, 200, "a link to the page is fine");
}

#[test]
fn a_name_that_is_not_its_own_is_refused_against_dns_rebinding() {
    let served = Served::with(false, |config| config.hosts = vec!["Door.Example.Org".to_owned()]);
    let as_host = |host: &str| send(&served, "GET", "/api/status", &[("Host", host)], "").status;
    for host in ["evil.example", "evil.example:8040", "127.0.0.1.evil.example", "localhost.evil.example"] {
        assert_eq!(as_host(host), 421, "{host}");
    }
    for host in ["localhost:8040", "LOCALHOST", "[::1]:8040", "10.0.0.7", "door.example.org", "door.example.org.:80"] {
        assert_eq!(as_host(host), 200, "{host}");
    }
    assert_eq!(status(&raw(&served, b"GET /api/status HTTP/1.1\r\nConnection: close\r\n\r\n")), 400, "no host at all");
}

#[test]
fn huge_bodies_are_refused_before_they_are_read() {
    let served = Served::open();
    let announced = "POST /api/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n";
    assert_eq!(status(&raw(&served, announced.as_bytes())), 413);
    let chunk = format!("{:x}\r\n{}\r\n", 60_000, "x".repeat(60_000));
    let head = "POST /api/ask HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(status(&raw(&served, format!("{head}{chunk}{chunk}0\r\n\r\n").as_bytes())), 413, "nor in chunks");
    let largest = format!(r#"{{"task": "ask", "question": "{}"}}"#, "x".repeat(65_536 - 31));
    assert_eq!(largest.len(), 65_536);
    assert_eq!(send(&served, "POST", "/api/ask", &[], &largest).status, 200);
}

#[test]
fn paths_lead_nowhere_but_to_the_page() {
    let served = Served::open();
    for path in [
        "/../Cargo.toml",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/page.css/../../secret",
        "/api/events/..%2f..%2fetc%2fpasswd/snapshot.jpg",
        "/page.css%00.js",
        "/page/index.html",
    ] {
        let answer =
            raw(&served, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
        assert_eq!(status(&answer), 404, "{path}: {answer}");
        assert!(!answer.contains("root:") && !answer.contains("[package]"), "{path}");
    }
}

#[test]
fn what_is_no_http_is_hung_up_on() {
    let served = Served::open();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let answer = raw(&served, bytes);
        assert!(answer.is_empty() || status(&answer) >= 400, "{answer}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(100_000));
    assert!((400..500).contains(&status(&raw(&served, long.as_bytes()))), "a head of 100 kB");
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X-A: b\r\n".repeat(200));
    assert!((400..500).contains(&status(&raw(&served, many.as_bytes()))), "200 headers");
    assert_eq!(get(&served, "/api/status").status, 200);
}

#[test]
fn slow_clients_are_hung_up_on_and_do_not_keep_others_out() {
    let served = Served::with(false, |config| {
        config.timeout = Duration::from_millis(500);
        config.connections = 8;
    });
    // More than there are places trickle a head and never end it.
    let mut slow: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(served.address).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").unwrap();
    }
    assert_eq!(get(&served, "/api/status").status, 200, "others are served in between");
    for mut stream in slow {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let hung_up = wait("a client that trickles is hung up on", || {
            let _ = stream.write_all(b"a");
            let mut rest = [0; 512];
            match stream.read(&mut rest) {
                Ok(0) => Some(true),
                Ok(_) => None,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Some(false),
                Err(_) => Some(true),
            }
        });
        assert!(hung_up);
    }
    let head = "POST /api/ask HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 30\r\n\r\n{\"ta";
    assert_eq!(status(&raw(&served, head.as_bytes())), 408, "a body that never ends");
}

#[test]
fn a_client_that_never_reads_loses_its_place() {
    let served = Served::with(false, |config| {
        config.timeout = Duration::from_millis(500);
        config.connections = 4;
    });
    // Each asks for far more than its and the kernel's buffers hold, and takes none of it up.
    let frames = "GET /api/frame.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    let deaf: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(served.address).unwrap();
            stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            let _ = stream.write_all(frames.as_bytes());
            stream
        })
        .collect();
    assert_eq!(get(&served, "/api/status").status, 200);
    drop(deaf);
}

#[test]
fn ten_thousand_requests_leave_nothing_behind() {
    let served = Served::open();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let answers = |requests: usize, line: &str| {
        let mut stream = TcpStream::connect(served.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let mut text = format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(requests - 1);
        text += &format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let write = std::thread::spawn(move || writer.write_all(text.as_bytes()).unwrap());
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        write.join().unwrap();
        String::from_utf8_lossy(&all).matches("HTTP/1.1 ").count()
    };
    assert_eq!(get(&served, "/healthz").status, 200);
    let before = descriptors();
    assert_eq!(answers(5_000, "GET /healthz"), 5_000, "on one connection");
    assert_eq!(answers(4_000, "GET /nothing"), 4_000);
    for _ in 0..1_000 {
        assert_eq!(answers(1, "GET /api/status"), 1, "on a connection each");
    }
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    assert!(threads() < 200, "{} threads", threads());
    // Tests beside this one have connections of their own; those of this one would be thousands.
    wait("connections are closed", || (descriptors() < before + 200).then_some(()));
    assert_eq!(get(&served, "/api/status").status, 200);
}
