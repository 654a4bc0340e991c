//! Waiting for a log that is busy or away.

use std::time::Duration;

use tokio::sync::watch;

use crate::error::{CliError, without_stop};

/// How often something is tried before the import gives up.
const TRIES: u32 = 12;
/// The first wait between two tries.
const SHORTEST: Duration = Duration::from_millis(500);
/// The longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(30);

/// How long to go on trying.
pub struct Patience<'a> {
    endless: bool,
    stop: watch::Receiver<bool>,
    /// Is told what is waited for.
    say: &'a (dyn Fn(&str) + Sync),
    tried: u32,
    wait: Duration,
}

impl<'a> Patience<'a> {
    /// For one thing to be done; `endless`: until it is done or `stop` turns true.
    pub fn new(endless: bool, stop: watch::Receiver<bool>, say: &'a (dyn Fn(&str) + Sync)) -> Self {
        Self { endless, stop, say, tried: 0, wait: SHORTEST }
    }

    /// Whether a server that is away is waited for.
    pub fn endless(&self) -> bool {
        self.endless
    }

    /// Waits before the next try, longer each time and at least as long as was asked for; false if interrupted.
    pub async fn pause(&mut self, after: Option<Duration>, why: &str) -> Result<bool, CliError> {
        let Some(pause) = self.next(after) else {
            return Err(CliError::Failed(format!("gave up after {TRIES} tries: {why}")));
        };
        (self.say)(&format!("{}; trying again in {:.1} s", without_stop(&why), pause.as_secs_f64()));
        Ok(tokio::time::timeout(pause, self.stop.wait_for(|stop| *stop)).await.is_err())
    }

    /// How long to wait; `None` to give up.
    fn next(&mut self, after: Option<Duration>) -> Option<Duration> {
        self.tried = self.tried.saturating_add(1);
        if !self.endless && self.tried >= TRIES {
            return None;
        }
        let pause = after.unwrap_or_default().max(self.wait).min(LONGEST);
        self.wait = (self.wait * 2).min(LONGEST);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pauses_grow_and_end() {
        let (stop, stopped) = watch::channel(false);
        let said = std::sync::Mutex::new(Vec::new());
        let say = |text: &str| said.lock().unwrap().push(text.to_owned());
        let mut patience = Patience::new(false, stopped.clone(), &say);
        let pauses: Vec<f64> = (1..TRIES).map(|_| patience.next(None).unwrap().as_secs_f64()).collect();
        assert_eq!(pauses, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0, 30.0]);
        assert!(patience.pause(None, "busy.").await.unwrap_err().to_string().contains("gave up"));
        let mut endless = Patience::new(true, stopped, &say);
        assert_eq!(endless.next(Some(Duration::from_secs(3))), Some(Duration::from_secs(3)));
        assert!((0..100).all(|_| endless.next(None).is_some()));
        stop.send_replace(true);
        assert!(!endless.pause(None, "away.").await.unwrap());
        assert_eq!(*said.lock().unwrap(), ["away; trying again in 30.0 s"]);
    }
}
