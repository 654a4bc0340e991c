//! Access and authentication events, the same for every run: an event depends on nothing but its number.

use std::io::Write as _;

/// An address that occurs in a few messages and nowhere else.
const RARE_ADDRESS: &str = "192.0.2.99";
/// A word that occurs in a few messages.
const RARE_WORD: &str = "zanzibar";
/// What is rare comes in bursts of so many events, a third and two thirds through …
const BURST: u64 = 10;
/// … so far from each other.
const APART: u64 = 7;
/// Days of the months that events are dated in.
const MONTH: u64 = 28;
const DAY_MILLIS: u64 = 86_400_000;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// How often the rare address and the rare word each occur.
pub const PLANTED: u64 = 2 * BURST;

/// Whether the event is one of a burst that begins `shift` behind the usual place of the first day.
fn planted(number: u64, round: u64, shift: u64) -> bool {
    [round / 3, round / 3 * 2].into_iter().any(|start| {
        let since = number.checked_sub(start + shift);
        since.is_some_and(|since| since % APART == 0 && since / APART < BURST)
    })
}

/// Appends an event as a line of JSON, about 260 bytes. A day of its time has `round` events.
pub fn write(number: u64, round: u64, out: &mut Vec<u8>) {
    let mut dice = Dice(number.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x5cea_u64);
    let round = round.max(1);
    let (day, millis) = (number / round, u128::from(number % round) * u128::from(DAY_MILLIS) / u128::from(round));
    let (month, day, millis) = (1 + day / MONTH % 12, 1 + day % MONTH, millis as u64);
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    let (seconds, millis) = (millis / 1_000 % 60, millis % 1_000);
    let user = dice.below(2_000);
    let failed = dice.below(10) == 0;
    // Sixty addresses fail: split by ten minutes of a day, they make fewer bars than a histogram may have.
    let address = match (failed, dice.below(6)) {
        (true, 0) => format!("10.0.0.{}", 1 + dice.below(10)),
        (true, _) => format!("203.0.113.{}", 1 + dice.below(50)),
        _ => format!("10.0.{}.{}", dice.below(8), 1 + dice.below(250)),
    };
    let (action, status) = match (failed, dice.below(4)) {
        (true, _) => ("login", "failed"),
        (_, 0) => ("login", "success"),
        (_, 1) => ("download", "success"),
        _ => ("read", "success"),
    };
    let (port, bytes, duration) = (32_768 + dice.below(28_000), dice.below(200_000), dice.below(2_000));
    let session = dice.next() as u32;
    let host = dice.below(40);
    let before = out.len();
    // Writing into memory can't fail.
    let _ = write!(
        out,
        "{{\"timestamp\":\"2026-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z\",\"ip\":\"{address}\",\
         \"user\":\"user{user:04}\",\"action\":\"{action}\",\"status\":\"{status}\",\"host\":\"web-{host:02}\",\
         \"service\":\"portal\",\"bytes\":{bytes},\"duration_ms\":{duration},\"session\":\"{session:08x}\",\"message\":\""
    );
    let text = if failed { "Failed password for" } else { "Accepted request of" };
    let _ = write!(out, "{text} user{user:04} from {address} port {port}");
    if planted(number, round, 0) {
        let _ = write!(out, " via {RARE_ADDRESS}");
    }
    if planted(number, round, 1) {
        let _ = write!(out, " bound for {RARE_WORD}");
    }
    out.extend_from_slice(b"\"}\n");
    debug_assert!((200..330).contains(&(out.len() - before)));
}
