//! Who may come in: a token by `Authorization: Bearer`, or the signed cookie that the login form gives for it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, header};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub(super) const COOKIE: &str = "lookout";
/// How long a login lasts.
pub(super) const LOGIN: Duration = Duration::from_secs(30 * 24 * 3600);
/// Wrong tokens that an address may give in a row, and how long it takes to be forgiven one.
const TRIES: u32 = 5;
const FORGIVEN: Duration = Duration::from_secs(12);
/// Most addresses whose failures are remembered.
const MOST_ADDRESSES: usize = 1_024;

/// Checks tokens and cookies.
pub(super) struct Door {
    token: Option<String>,
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

struct Failures {
    count: u32,
    /// From when on `count` is forgiven one by one.
    since: Instant,
}

/// What came of knocking.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Knock {
    /// Come in.
    Welcome,
    /// Neither a token nor a cookie that holds.
    Stranger,
    /// A token, and it is wrong.
    Wrong,
    /// Too many wrong ones from this address; ask again then.
    Later(Duration),
}

impl Door {
    pub(super) fn new(token: Option<String>) -> Self {
        Self { token, failures: Mutex::new(HashMap::new()) }
    }

    /// Judges the headers of a request. A cookie that is wrong counts as none: it is signed, so guessing is hopeless.
    pub(super) fn knock(&self, headers: &HeaderMap, from: IpAddr) -> Knock {
        let Some(token) = &self.token else { return Knock::Welcome };
        if let Some(given) = headers.get(header::AUTHORIZATION) {
            return match given.as_bytes().split_at_checked(7) {
                Some((scheme, given)) if scheme.eq_ignore_ascii_case(b"Bearer ") => self.login(given, from),
                _ => Knock::Stranger,
            };
        }
        let valid = cookies(headers).any(|value| valid_cookie(token, value, unix_seconds()));
        if valid { Knock::Welcome } else { Knock::Stranger }
    }

    /// Judges a token. While an address has failed too often even the right one is refused, or guessing would not slow.
    pub(super) fn login(&self, given: &[u8], from: IpAddr) -> Knock {
        let Some(token) = &self.token else { return Knock::Welcome };
        let (from, now) = (network(from), Instant::now());
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = failures.get_mut(&from).and_then(|failed| failed.wait(now)) {
            return Knock::Later(wait);
        }
        // Digests are compared, so that not even the token's length shows in the time it takes.
        if bool::from(Sha256::digest(given).ct_eq(&Sha256::digest(token))) {
            failures.remove(&from);
            return Knock::Welcome;
        }
        if failures.len() >= MOST_ADDRESSES && !failures.contains_key(&from) {
            failures.retain(|_, failed| !failed.is_forgiven(now));
            if failures.len() >= MOST_ADDRESSES {
                return Knock::Later(FORGIVEN);
            }
        }
        let failed = failures.entry(from).or_insert(Failures { count: 0, since: now });
        failed.count += 1;
        if failed.count == 1 || failed.count == TRIES {
            log::warn!("web: {} wrong token(s) from {from}", failed.count);
        }
        Knock::Wrong
    }

    /// The value of the cookie for somebody who gave the right token.
    pub(super) fn cookie(&self) -> Option<String> {
        let until = unix_seconds() + LOGIN.as_secs();
        self.token.as_ref().map(|token| format!("{until}.{}", hex(&signature(token, until).finalize().into_bytes())))
    }
}

impl Failures {
    /// How long until the next try is judged, if it is not judged now.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        while self.count > 0 && now.duration_since(self.since) >= FORGIVEN {
            self.count -= 1;
            self.since += FORGIVEN;
        }
        (self.count >= TRIES).then(|| FORGIVEN.saturating_sub(now.duration_since(self.since)))
    }

    fn is_forgiven(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= FORGIVEN * self.count
    }
}

/// Who owns an IPv6 address owns its /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// `until.signature`: seconds since 1970, and the HMAC-SHA-256 of them under the token.
fn valid_cookie(token: &str, value: &str, now: u64) -> bool {
    let Some((until, given)) = value.split_once('.') else { return false };
    let Ok(until) = until.parse::<u64>() else { return false };
    let right = hex(&signature(token, until).finalize().into_bytes());
    bool::from(right.as_bytes().ct_eq(given.as_bytes())) && now < until && until - now <= LOGIN.as_secs()
}

fn signature(token: &str, until: u64) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(token.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(b"lookout login until ");
    mac.update(until.to_string().as_bytes());
    mac
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_cookie_holds_until_its_time_and_under_its_token_alone() {
        let door = Door::new(Some(TOKEN.into()));
        let cookie = door.cookie().unwrap();
        let now = unix_seconds();
        assert!(valid_cookie(TOKEN, &cookie, now));
        assert!(!valid_cookie(TOKEN, &cookie, now + LOGIN.as_secs() + 1));
        assert!(!valid_cookie("another-token-16", &cookie, now));
        let later = format!("{}.{}", now + 5, cookie.split_once('.').unwrap().1);
        assert!(!valid_cookie(TOKEN, &later, now), "the time is signed");
        assert!(!valid_cookie(TOKEN, "", now) && !valid_cookie(TOKEN, ".", now));
        let from = IpAddr::from([10, 0, 0, 1]);
        let request = headers(header::COOKIE, &format!("theme=dark; {COOKIE}={cookie}"));
        assert_eq!(door.knock(&request, from), Knock::Welcome);
        assert_eq!(door.knock(&headers(header::COOKIE, "lookout=1.ab"), from), Knock::Stranger);
    }

    #[test]
    fn guessing_is_slowed_by_address_and_the_right_token_waits_too() {
        let door = Door::new(Some(TOKEN.into()));
        let (guesser, owner) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..TRIES {
            assert_eq!(door.login(b"guess", guesser), Knock::Wrong);
        }
        assert!(matches!(door.login(TOKEN.as_bytes(), guesser), Knock::Later(wait) if wait <= FORGIVEN));
        assert_eq!(door.knock(&headers(header::AUTHORIZATION, &format!("bearer {TOKEN}")), owner), Knock::Welcome);
        let failed = door.failures.lock().unwrap().get_mut(&guesser).unwrap().wait(Instant::now() + FORGIVEN);
        assert_eq!(failed, None, "one try is forgiven in time");
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let door = Door::new(Some(TOKEN.into()));
        for host in 0..TRIES {
            let address: IpAddr = format!("2001:db8::{host}").parse().unwrap();
            assert_eq!(door.login(b"guess", address), Knock::Wrong);
        }
        assert!(matches!(door.login(b"guess", "2001:db8::99".parse().unwrap()), Knock::Later(_)));
        assert_eq!(door.login(b"guess", "2001:db8:0:1::1".parse().unwrap()), Knock::Wrong);
    }
}
