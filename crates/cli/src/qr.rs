//! A text as a QR code of block characters, for a telephone's camera.

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

/// The code, with line breaks; nothing if the text is too long for one.
pub fn drawn(text: &str) -> String {
    let Ok(code) = QrCode::with_error_correction_level(text, EcLevel::L) else { return String::new() };
    // Terminals are mostly dark, and a camera wants dark on light: so the ink is what is not drawn.
    let image = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    format!("{image}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_square_and_has_its_quiet_zone() {
        let code = drawn("http://127.0.0.1:8080/setup#setup_0123456789012345678901234567890123456789012");
        let lines: Vec<Vec<char>> = code.lines().map(|line| line.chars().collect()).collect();
        let width = lines[0].len();
        assert!(lines.iter().all(|line| line.len() == width) && width.abs_diff(2 * lines.len()) <= 1, "{code}");
        assert!(lines[0].iter().all(|c| *c == '\u{2588}') && lines.iter().all(|line| line[0] != ' '));
        assert!(code.chars().all(|c| " \u{2580}\u{2584}\u{2588}\n".contains(c)));
        assert_eq!(drawn(&"x".repeat(4_000)), "");
    }
}
