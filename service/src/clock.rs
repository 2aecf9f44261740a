//! The time that services go by. What has expired stays so: it never goes back, whatever becomes of the system's clock, and a restart does not lose it.

use crate::base::system_clock;
use crate::database::{Database, Error};
use baton_protocol::ports::{Clock, Tell};
use baton_protocol::time::Millis;
use rustix::time::{ClockId, clock_gettime};
use sqlx::AnyConnection;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// So much more than has passed is no drift: somebody set the clock forward.
const SET_FORWARD_MS: i64 = 10_000;
/// A database that was used later than this before now tells of a clock that is wrong, or was.
const MOST_BEHIND_SECS: i64 = 3600;

/// The system's clock, made [steady](Steady).
pub fn steady_clock() -> Clock {
    let passed = || {
        let since = clock_gettime(ClockId::Monotonic);
        since.tv_sec * 1000 + since.tv_nsec / 1_000_000
    };
    Clock::telling(Steady::over(system_clock(), passed))
}

/// A clock that goes on: behind time that was told already, or beside a clock that stands still, at half its pace, until that one has caught up.
pub struct Steady<P> {
    wall: Clock,
    passed: P,
    state: Mutex<State>,
}

struct State {
    told: i64,
    /// What had passed when that was told.
    passed: i64,
    unbroken_since: i64,
}

impl<P: Fn() -> i64> Steady<P> {
    /// Over a clock that may be set, and milliseconds that pass, of which only differences count.
    pub fn over(wall: Clock, passed: P) -> Self {
        let now = wall.now().0;
        Self { state: Mutex::new(State { told: now, passed: passed(), unbroken_since: now }), wall, passed }
    }
}

impl<P: Fn() -> i64 + Send + Sync> Tell for Steady<P> {
    fn now(&self) -> Millis {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall, passed) = (self.wall.now().0, (self.passed)() - state.passed);
        let least = state.told + passed.max(0) / 2;
        if wall - state.told > passed.max(0) + SET_FORWARD_MS {
            state.unbroken_since = wall;
        }
        let now = wall.max(least);
        // What is too little to tell yet is not lost.
        if now > state.told {
            (state.told, state.passed) = (now, state.passed + passed);
        }
        Millis(now)
    }

    fn unbroken_since(&self) -> Millis {
        // A clock is read to learn whether it was set.
        self.now();
        Millis(self.state.lock().unwrap_or_else(PoisonError::into_inner).unbroken_since)
    }

    fn begin(&self) {
        let now = self.now().0;
        self.state.lock().unwrap_or_else(PoisonError::into_inner).unbroken_since = now;
    }

    fn not_before(&self, floor: Millis) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if floor.0 > state.told {
            (state.told, state.passed, state.unbroken_since) = (floor.0, (self.passed)(), floor.0);
        }
    }
}

/// Why a service does not start.
#[derive(Debug, thiserror::Error)]
#[error("the clock says {now}, and it was used at {seen}: set the clock right, or, if it was wrong then, start once with --trust-clock")]
pub struct Behind {
    now: String,
    seen: String,
}

/// Lets the clock go on from where this database was used last. Refused when that is long after now: what expired meanwhile would be good again.
pub async fn go_on(db: &Database, clock: &Clock) -> Result<Result<(), Behind>, Error> {
    let seen: Option<i64> = sqlx::query_scalar("SELECT seen_at FROM clock WHERE one = 1").fetch_optional(db.reader()).await?;
    let (now, Some(seen)) = (clock.now(), seen) else { return Ok(Ok(())) };
    if seen > now.plus_secs(MOST_BEHIND_SECS).0 {
        let date = |at: Millis| httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or_default()));
        return Ok(Err(Behind { now: date(now), seen: date(Millis(seen)) }));
    }
    if seen > now.plus_secs(1).0 {
        tracing::warn!(target: "baton", ahead_secs = (seen - now.0) / 1000, "the clock is behind when this database was used last: time goes on from there, at half pace");
    }
    clock.not_before(Millis(seen));
    Ok(Ok(()))
}

/// Notes that it was in use at this time.
pub async fn note(db: &mut AnyConnection, now: Millis) -> Result<(), Error> {
    let sql = "INSERT INTO clock (one, seen_at) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET seen_at = excluded.seen_at WHERE clock.seen_at < excluded.seen_at";
    sqlx::query(sql).bind(now.0).execute(db).await.map(drop)
}

/// Forgets when it was in use: the clock was wrong then.
pub async fn forget(db: &mut AnyConnection) -> Result<(), Error> {
    sqlx::query("DELETE FROM clock").execute(db).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    const NOON: i64 = 1_800_000_000_000;

    /// A steady clock over one that is set by hand, and what passes.
    fn steady() -> (Clock, impl Fn(i64, i64)) {
        let (wall, passed) = (Arc::new(AtomicI64::new(NOON)), Arc::new(AtomicI64::new(5)));
        let (of_wall, of_passed) = (wall.clone(), passed.clone());
        let clock = Steady::over(Clock::new(move || Millis(of_wall.load(Ordering::SeqCst))), move || of_passed.load(Ordering::SeqCst));
        let step = move |by_wall, by_passed| {
            wall.fetch_add(by_wall, Ordering::SeqCst);
            passed.fetch_add(by_passed, Ordering::SeqCst);
        };
        (Clock::telling(clock), step)
    }

    fn at(clock: &Clock) -> i64 {
        clock.now().0 - NOON
    }

    #[test]
    fn what_goes_evenly_is_told_as_it_is() {
        let (clock, step) = steady();
        for n in 1..1000 {
            step(1000, 1001);
            assert_eq!(at(&clock), n * 1000);
        }
        assert_eq!(clock.unbroken_since().0, NOON);
        // A machine that slept: its clock went on, nothing passed, and nobody could be heard.
        step(8 * 3_600_000, 0);
        assert_eq!((at(&clock), clock.unbroken_since()), (29_799_000, clock.now()));
    }

    #[test]
    fn it_begins_when_it_is_told_to() {
        let (clock, step) = steady();
        step(60_000, 60_000);
        assert_eq!(clock.unbroken_since().0, NOON);
        clock.begin();
        assert_eq!(clock.unbroken_since().0, NOON + 60_000);
    }

    /// Set back ten minutes: it goes on from where it was, and slower, until both are one again.
    #[test]
    fn it_never_goes_back() {
        let (clock, step) = steady();
        step(-600_000, 0);
        assert_eq!(at(&clock), 0);
        for n in 1..=1000 {
            step(1, 1);
            assert_eq!(at(&clock), n / 2, "however often it is asked");
        }
        step(1_198_000, 1_198_000);
        assert_eq!(at(&clock), 599_500);
        step(10_000, 10_000);
        assert_eq!(at(&clock), 609_000, "caught up");
        step(1000, 1000);
        assert_eq!(at(&clock), 610_000);
        assert_eq!(clock.unbroken_since().0, NOON);
    }

    #[test]
    fn one_that_stands_still_goes_on() {
        let (clock, step) = steady();
        step(0, 60_000);
        assert_eq!(at(&clock), 30_000);
        // A leap second is a second told twice.
        let (clock, step) = steady();
        step(-1000, 0);
        step(3000, 3000);
        assert_eq!(at(&clock), 2000);
    }

    #[test]
    fn set_forward_it_says_since_when() {
        let (clock, step) = steady();
        step(SET_FORWARD_MS + 1000, 1000);
        assert_eq!(clock.unbroken_since().0, NOON);
        step(86_400_000, 1000);
        assert_eq!((at(&clock), clock.unbroken_since()), (86_411_000, clock.now()));
    }

    #[test]
    fn it_goes_on_from_where_it_was_before_a_start() {
        let (clock, step) = steady();
        clock.not_before(Millis(NOON - 1));
        assert_eq!(at(&clock), 0);
        clock.not_before(Millis(NOON + 90_000));
        step(10_000, 10_000);
        assert_eq!(at(&clock), 95_000);
    }
}
