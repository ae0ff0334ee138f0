//! What the directory last said of each token, and for how long that is used.
//!
//! Pure: bounded maps and the caller's `now`. Good and bad tokens have maps of their own, so that guesses cannot push out
//! the tokens that work.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Caller, TokenDigest};

/// How long a good answer is used while the directory does not answer.
const GRACE: Duration = Duration::from_secs(60);

/// The longest that a bad answer is used: a token that was just made should work soon.
const REFUSAL_LIFE: Duration = Duration::from_secs(1);

/// Tokens remembered, of each kind.
const REMEMBERED: usize = 10_000;

/// What the directory says of a token.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It is good.
    Known(Arc<Caller>),
    /// It is unknown, ended or revoked.
    Unknown,
}

/// What the cache says of a token.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// Use this.
    Fresh(Answer),
    /// Ask the directory; use this if it does not answer.
    Stale(Arc<Caller>),
    /// Ask the directory.
    Absent,
}

/// The answers.
#[derive(Debug)]
pub struct TokenCache {
    life: Duration,
    known: HashMap<TokenDigest, (Instant, Arc<Caller>)>,
    unknown: HashMap<TokenDigest, Instant>,
}

impl TokenCache {
    /// Uses a good answer for `life`.
    #[must_use]
    pub fn new(life: Duration) -> Self {
        Self {
            life,
            known: HashMap::new(),
            unknown: HashMap::new(),
        }
    }

    /// What to do with a token at `now`.
    #[must_use]
    pub fn lookup(&self, token: &TokenDigest, now: Instant) -> Lookup {
        if let Some((at, caller)) = self.known.get(token) {
            let age = now.saturating_duration_since(*at);
            if age < self.life {
                return Lookup::Fresh(Answer::Known(caller.clone()));
            }
            if age < GRACE {
                return Lookup::Stale(caller.clone());
            }
        }
        match self.unknown.get(token) {
            Some(at) if now.saturating_duration_since(*at) < self.refusal_life() => {
                Lookup::Fresh(Answer::Unknown)
            }
            _ => Lookup::Absent,
        }
    }

    /// Keeps what the directory said at `now`.
    pub fn keep(&mut self, token: TokenDigest, answer: &Answer, now: Instant) {
        match answer {
            Answer::Known(caller) => {
                self.unknown.remove(&token);
                make_room(&mut self.known, |(at, _)| {
                    now.saturating_duration_since(*at) < GRACE
                });
                self.known.insert(token, (now, caller.clone()));
            }
            Answer::Unknown => {
                let life = self.refusal_life();
                self.known.remove(&token);
                make_room(&mut self.unknown, |at| {
                    now.saturating_duration_since(*at) < life
                });
                self.unknown.insert(token, now);
            }
        }
    }

    fn refusal_life(&self) -> Duration {
        self.life.min(REFUSAL_LIFE)
    }
}

/// Drops what is past its time, and everything when that is not enough: the directory is asked again.
fn make_room<V>(map: &mut HashMap<TokenDigest, V>, alive: impl Fn(&V) -> bool) {
    if map.len() < REMEMBERED {
        return;
    }
    map.retain(|_, value| alive(value));
    if map.len() >= REMEMBERED {
        map.clear();
    }
}

#[cfg(test)]
mod tests {
    use sealpost_proto::directory::v1::AuthenticateTokenResponse;

    use super::*;

    const LIFE: Duration = Duration::from_secs(5);

    fn good() -> Answer {
        Answer::Known(Arc::new(Caller::from_answer(
            AuthenticateTokenResponse::default(),
        )))
    }

    #[test]
    fn a_good_answer_is_used_then_asked_again_then_forgotten() {
        let (mut cache, token, now) =
            (TokenCache::new(LIFE), TokenDigest::of(b"a"), Instant::now());
        assert!(matches!(cache.lookup(&token, now), Lookup::Absent));
        cache.keep(token, &good(), now);
        let after = |seconds| cache.lookup(&token, now + Duration::from_secs(seconds));
        assert!(matches!(after(4), Lookup::Fresh(Answer::Known(_))));
        assert!(matches!(after(5), Lookup::Stale(_)));
        assert!(matches!(after(59), Lookup::Stale(_)));
        assert!(matches!(after(60), Lookup::Absent));
    }

    #[test]
    fn a_bad_answer_is_used_shorter() {
        let (mut cache, token, now) =
            (TokenCache::new(LIFE), TokenDigest::of(b"a"), Instant::now());
        cache.keep(token, &Answer::Unknown, now);
        let soon = now + Duration::from_millis(999);
        assert!(matches!(
            cache.lookup(&token, soon),
            Lookup::Fresh(Answer::Unknown)
        ));
        let later = now + Duration::from_secs(1);
        assert!(matches!(cache.lookup(&token, later), Lookup::Absent));
    }

    #[test]
    fn a_revoked_token_has_no_grace() {
        let (mut cache, token, now) =
            (TokenCache::new(LIFE), TokenDigest::of(b"a"), Instant::now());
        cache.keep(token, &good(), now);
        cache.keep(token, &Answer::Unknown, now);
        let later = now + Duration::from_secs(6);
        assert!(matches!(cache.lookup(&token, later), Lookup::Absent));
    }

    #[test]
    fn guesses_are_bounded_and_push_out_no_good_token() {
        let (mut cache, now) = (TokenCache::new(LIFE), Instant::now());
        cache.keep(TokenDigest::of(b"good"), &good(), now);
        for guess in 0..(REMEMBERED as u64 + 10) {
            cache.keep(TokenDigest::of(&guess.to_be_bytes()), &Answer::Unknown, now);
        }
        assert!(cache.unknown.len() <= REMEMBERED);
        let found = cache.lookup(&TokenDigest::of(b"good"), now);
        assert!(matches!(found, Lookup::Fresh(Answer::Known(_))));
    }
}
