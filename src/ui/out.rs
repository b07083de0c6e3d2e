//! Where output goes.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// A shared writer that falls silent when its reader is gone.
#[derive(Clone)]
pub struct Out(Arc<Mutex<Inner>>);

struct Inner {
    writer: Box<dyn Write + Send>,
    closed: bool,
}

impl Out {
    /// Writes to `writer`.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Out(Arc::new(Mutex::new(Inner {
            writer: Box::new(writer),
            closed: false,
        })))
    }

    /// Writes to standard output.
    pub fn stdout() -> Self {
        Out::new(io::stdout())
    }

    /// Writes to standard error.
    pub fn stderr() -> Self {
        Out::new(io::stderr())
    }

    /// Writes text as it is. Nobody can be told of a failure to tell, so there is no result.
    pub fn text(&self, text: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.closed {
            return;
        }
        let written = inner
            .writer
            .write_all(text.as_bytes())
            .and_then(|()| inner.writer.flush());
        inner.closed = written.is_err();
    }

    /// Writes text and a line end.
    pub fn line(&self, text: &str) {
        self.text(&format!("{text}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed(Arc<Mutex<usize>>);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_tried_once() {
        let tried = Arc::new(Mutex::new(0));
        let out = Out::new(Closed(Arc::clone(&tried)));
        out.line("a");
        out.line("b");
        assert_eq!(*tried.lock().unwrap_or_else(PoisonError::into_inner), 1);
    }
}
