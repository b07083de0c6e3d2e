//! Where output goes, and the only way to reach a terminal.
//!
//! Invariant: nothing that reaches a terminal moves the cursor or hides text, whatever is in names,
//! paths and the output of programs. [`Out::text`] escapes every hidden character except those of
//! our own styles, which [`styled`] marks with a number that no outside text can know. Documents
//! for programs ([`Out::document`]) are written unchanged, unless to a terminal.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use gfm_pipe_api::printable::lines;

/// The start of one of our own styles: an ANSI escape sequence that begins with a number. The
/// number is random for every process, and removed before writing. It is split into parameters of
/// at most four digits, because `console`, which measures lines, does not recognise longer ones as
/// a style.
static MARK: LazyLock<String> = LazyLock::new(|| {
    let number = RandomState::new().hash_one("styles");
    let parts = [0, 16, 32, 48].map(|shift| (number >> shift) % 10_000);
    let [a, b, c, d] = parts;
    format!("\x1b[{a};{b};{c};{d};")
});

/// Text in a style (an ANSI SGR code), for [`Out::text`].
pub(super) fn styled(code: &str, text: &str) -> String {
    let mark = MARK.as_str();
    format!("{mark}{code}m{text}{mark}0m")
}

/// A text in the form that may be written to a terminal.
fn shown(text: &str) -> String {
    let mut parts = text.split(MARK.as_str());
    let mut out = parts
        .next()
        .map_or_else(String::new, |t| lines(t).into_owned());
    for part in parts {
        let (code, rest) = part.split_once('m').unwrap_or(("0", part));
        out.push_str("\x1b[");
        out.push_str(code);
        out.push('m');
        out.push_str(&lines(rest));
    }
    out
}

/// A shared writer that stops writing when its reader is gone, and remembers any other failure.
#[derive(Clone)]
pub struct Out(Arc<Mutex<Inner>>);

struct Inner {
    writer: Box<dyn Write + Send>,
    terminal: bool,
    failed: Option<io::Error>,
}

impl Out {
    /// Writes to `writer`, which must not be a terminal.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Out::to(writer, false)
    }

    fn to(writer: impl Write + Send + 'static, terminal: bool) -> Self {
        Out(Arc::new(Mutex::new(Inner {
            writer: Box::new(writer),
            terminal,
            failed: None,
        })))
    }

    /// Writes to standard output.
    pub fn stdout() -> Self {
        Out::to(io::stdout(), io::stdout().is_terminal())
    }

    /// Writes to standard error.
    pub fn stderr() -> Self {
        Out::to(io::stderr(), io::stderr().is_terminal())
    }

    /// Writes text for people. A failure can be read with [`Out::failure`].
    pub fn text(&self, text: &str) {
        self.write(&shown(text));
    }

    /// Writes a line for people.
    pub fn line(&self, text: &str) {
        self.text(&format!("{text}\n"));
    }

    /// Writes a document for programs (JSON, YAML, HTML, a script): unchanged, unless to a
    /// terminal.
    pub fn document(&self, text: &str) {
        if self.inner().terminal {
            self.text(text);
        } else {
            self.write(text);
        }
    }

    /// Switches to the terminal's alternate screen and hides the cursor.
    pub fn enter_screen(&self) {
        self.write("\x1b[?1049h\x1b[?25l");
    }

    /// Switches back to the normal screen and shows the cursor.
    pub fn leave_screen(&self) {
        self.write("\x1b[?25h\x1b[?1049l");
    }

    /// Draws lines from the top of the screen, and clears the rest of each line and of the screen.
    /// Nothing scrolls.
    pub fn draw(&self, lines: &[String]) {
        let lines: Vec<String> = lines.iter().map(|l| shown(l)).collect();
        let text = lines.join("\x1b[K\r\n");
        self.write(&format!("\x1b[H{text}\x1b[K\x1b[J"));
    }

    /// Why something could not be written, if that happened. A reader that went away is not a
    /// failure: it has read all it wanted.
    pub fn failure(&self) -> Option<String> {
        let inner = self.inner();
        let failed = inner.failed.as_ref();
        let failed = failed.filter(|e| e.kind() != ErrorKind::BrokenPipe);
        failed.map(ToString::to_string)
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, text: &str) {
        let mut inner = self.inner();
        if inner.failed.is_some() {
            return;
        }
        let written = inner.writer.write_all(text.as_bytes());
        inner.failed = written.and_then(|()| inner.writer.flush()).err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer that counts the attempts and always fails.
    struct Failing(Arc<Mutex<usize>>, ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            Err(self.1.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A writer that keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(terminal: bool, write: impl Fn(&Out)) -> String {
        let kept = Kept::default();
        write(&Out::to(kept.clone(), terminal));
        let bytes = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn a_writer_that_fails_is_tried_once_and_only_a_closed_pipe_is_no_failure() {
        for (kind, is_failure) in [
            (ErrorKind::BrokenPipe, false),
            (ErrorKind::StorageFull, true),
        ] {
            let tried = Arc::new(Mutex::new(0));
            let out = Out::new(Failing(Arc::clone(&tried), kind));
            assert_eq!(out.failure(), None);
            out.line("a");
            out.document("b");
            assert_eq!(*tried.lock().unwrap_or_else(PoisonError::into_inner), 1);
            assert_eq!(out.failure().is_some(), is_failure, "{kind}");
        }
    }

    #[test]
    fn styles_of_ours_survive_and_nothing_else_does() {
        let name = "data\x1b[8m\x1b[2J\r\u{202e}";
        let text = format!("{} {name}\tok\n", styled("31;1", "error:"));
        let want = "\x1b[31;1merror:\x1b[0m data\\u001b[8m\\u001b[2J\\r\\u202e\tok\n";
        assert_eq!(written(false, |out| out.text(&text)), want);
        // Putting such a name in a style does not let its escapes through.
        let text = styled("1", name);
        let shown = written(true, |out| out.line(&text));
        assert!(shown.starts_with("\x1b[1mdata\\u001b[8m"), "{shown:?}");
        assert_eq!(shown.matches('\x1b').count(), 2, "{shown:?}");
        // What looks like one of our styles, but has another number, is treated as text.
        let forged = "\x1b[1;2;3;4;8mhidden";
        let shown = written(true, |out| out.line(forged));
        assert_eq!(shown, "\\u001b[1;2;3;4;8mhidden\n");
    }

    #[test]
    fn styles_have_no_width() {
        let text = styled("31;1", "ran");
        assert_eq!(console::measure_text_width(&text), 3);
        let cut = console::truncate_str(&text, 2, "…").into_owned();
        let shown = written(true, |out| out.text(&cut));
        assert_eq!(shown, "\x1b[31;1mr…\x1b[0m");
    }

    #[test]
    fn a_document_is_escaped_on_a_terminal_only() {
        let text = "name: \u{200b}\u{1b}[2J\n";
        assert_eq!(written(false, |out| out.document(text)), text);
        assert_eq!(
            written(true, |out| out.document(text)),
            "name: \\u200b\\u001b[2J\n"
        );
    }

    #[test]
    fn a_screen_is_drawn_line_by_line() {
        let drawn = written(true, |out| {
            out.draw(&["a\x1b[2J".to_owned(), styled("2", "b")])
        });
        assert_eq!(
            drawn,
            "\x1b[Ha\\u001b[2J\x1b[K\r\n\x1b[2mb\x1b[0m\x1b[K\x1b[J"
        );
    }
}
