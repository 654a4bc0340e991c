//! The receive time, which never runs backwards.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use sceau_event::Micros;

/// How far the wall clock may be behind before the operator is told.
const TOLERANCE: i64 = 5_000_000;

/// Starts at the wall clock or at what the log has seen last, whichever is later; goes on with the monotonic clock and
/// follows the wall clock forward, never back.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The time given at `at`.
    base: i64,
    at: Duration,
    behind: bool,
}

impl Clock {
    /// A clock that never gives less than `floor`: the last seal's time, the last receive time.
    pub fn new(floor: Micros) -> Self {
        let clock = Self {
            started: Instant::now(),
            state: Mutex::new(State { base: floor.0, at: Duration::ZERO, behind: false }),
        };
        clock.now();
        clock
    }

    /// The present moment.
    pub fn now(&self) -> Micros {
        Micros(self.read(wall(), self.started.elapsed()))
    }

    fn read(&self, wall: i64, elapsed: Duration) -> i64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = i64::try_from(elapsed.saturating_sub(state.at).as_micros()).unwrap_or(i64::MAX);
        let time = state.base.saturating_add(passed);
        if wall >= time {
            *state = State { base: wall, at: elapsed, behind: false };
            return wall;
        }
        let behind = time - wall > TOLERANCE;
        if behind && !state.behind {
            tracing::warn!(
                seconds = (time - wall) / 1_000_000,
                "the wall clock is behind the log's time, which never runs backwards; receive times go on from the \
                 log's until the clock has caught up"
            );
        }
        state.behind = behind;
        time
    }
}

fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(base: i64) -> Clock {
        let state = State { base, at: Duration::ZERO, behind: false };
        Clock { started: Instant::now(), state: Mutex::new(state) }
    }

    #[test]
    fn follows_the_wall_clock_forward() {
        let clock = clock(1_000);
        assert_eq!(clock.read(5_000, Duration::from_micros(10)), 5_000);
        assert_eq!(clock.read(9_000, Duration::from_micros(20)), 9_000);
    }

    #[test]
    fn goes_on_monotonically_when_the_wall_clock_is_behind() {
        let clock = clock(1_000_000_000);
        assert_eq!(clock.read(10, Duration::from_micros(7)), 1_000_000_007);
        assert_eq!(clock.read(0, Duration::from_micros(9)), 1_000_000_009);
        assert_eq!(clock.read(1_000_000_100, Duration::from_micros(10)), 1_000_000_100);
        assert_eq!(clock.read(0, Duration::from_micros(12)), 1_000_000_102);
    }

    #[test]
    fn starts_at_the_floor_if_the_wall_clock_is_behind_it() {
        let floor = wall() + 3_600_000_000;
        assert!(Clock::new(Micros(floor)).now().0 >= floor);
    }
}
