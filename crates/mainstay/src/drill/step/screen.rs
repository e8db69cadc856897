//! The terminal: raw, on its other screen, and as it was before when we leave, however we leave.

use crate::cli::CliError;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{IsTerminal, Read, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Next,
    Message,
    Fault,
    Decision,
    Second,
    End,
    Back,
    Quit,
}

pub struct Screen {
    before: Termios,
}

impl Screen {
    /// # Errors
    /// Not a terminal.
    pub fn open() -> Result<Screen, CliError> {
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            return Err(CliError::Usage("--step needs a terminal; without it, replay prints a transcript".into()));
        }
        let failed = |error: rustix::io::Errno| CliError::Failed(format!("this terminal cannot be used: {error}"));
        let before = tcgetattr(std::io::stdin()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &raw).map_err(failed)?;
        write("\x1b[?1049h\x1b[?25l");
        Ok(Screen { before })
    }

    /// Shows the lines that `page` makes for (columns, lines), and waits for a key.
    pub fn ask(&mut self, page: impl Fn((usize, usize)) -> Vec<String>) -> Key {
        loop {
            let lines: Vec<String> = page(size());
            write(&format!("\x1b[H\x1b[2J{}", lines.join("\r\n")));
            let mut bytes = [0; 8];
            // An unknown key draws the page again, which also follows a new size.
            match std::io::stdin().read(&mut bytes) {
                Ok(length) if length > 0 => {
                    if let Some(key) = key(&bytes[..length]) {
                        return key;
                    }
                }
                _ => return Key::Quit,
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write("\x1b[?25h\x1b[?1049l");
        // Nothing else could be tried.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before);
    }
}

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    // A terminal that went away is noticed by the next read.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn size() -> (usize, usize) {
    let size = tcgetwinsize(std::io::stdout());
    size.map_or((80, 24), |size| (usize::from(size.ws_col).max(40), usize::from(size.ws_row).max(10)))
}

fn key(bytes: &[u8]) -> Option<Key> {
    const INTERRUPT: u8 = 3;
    const END_OF_INPUT: u8 = 4;
    Some(match bytes {
        [b' ' | b'n' | b'\r', ..] | [0x1b, b'[', b'C' | b'B', ..] => Key::Next,
        [b'b' | b'p' | 0x7f, ..] | [0x1b, b'[', b'D' | b'A', ..] => Key::Back,
        [b'm', ..] => Key::Message,
        [b'f', ..] => Key::Fault,
        [b'd', ..] => Key::Decision,
        [b's', ..] => Key::Second,
        [b'e' | b'G', ..] => Key::End,
        [b'q' | INTERRUPT | END_OF_INPUT, ..] | [0x1b] => Key::Quit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_arrows() {
        let keys = [&b" "[..], b"\x1b[C", b"\x1b[D", b"q", b"\x1b", b"\x03", b"m"].map(key);
        let wanted = [Key::Next, Key::Next, Key::Back, Key::Quit, Key::Quit, Key::Quit, Key::Message].map(Some);
        assert_eq!(keys, wanted);
        assert_eq!(key(b"x"), None);
    }
}
