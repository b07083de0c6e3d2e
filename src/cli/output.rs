//! Files that subcommands write for the user.
//!
//! Invariant: an existing file is intact at every moment: the new one is written beside it and
//! takes its name when it is complete. So neither a full disk nor a killed process destroys the old
//! one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::error::{CliError, CliResult};
use crate::spec::STDIN as STDOUT;
use crate::store::StoreError;
use crate::store::atomic::{TempFile, sync_dir};
use crate::ui::Out;

/// Writes a document to a file, or to standard output where it is called `-`; a file that is there
/// already is replaced only with `force`. Returns whether it wrote a file.
pub fn write_new(path: &Path, text: &str, force: bool, out: &Out) -> CliResult<bool> {
    if path == Path::new(STDOUT) {
        out.document(text);
        return Ok(false);
    }
    written(path, text, force).map_err(|e| {
        let failed =
            |why: &str| CliError::failed(format!("cannot write {}: {why}", path.display()));
        match e.kind() {
            ErrorKind::AlreadyExists => failed("the file is there").hint("--force replaces it"),
            ErrorKind::NotFound => failed("there is no such folder").hint("make the folder first"),
            _ => failed(&e.to_string()),
        }
    })?;
    Ok(true)
}

fn written(path: &Path, text: &str, force: bool) -> io::Result<()> {
    let old = match fs::metadata(path) {
        Ok(old) => Some(old),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    // A pipe or a device holds nothing that could be lost, and must not be replaced by a file.
    if old.as_ref().is_some_and(|m| !m.is_file() && !m.is_dir()) {
        return File::options()
            .write(true)
            .open(path)?
            .write_all(text.as_bytes());
    }
    if old.as_ref().is_some_and(fs::Metadata::is_dir) {
        return Err(ErrorKind::IsADirectory.into());
    }
    if old.is_some() && !force {
        return Err(ErrorKind::AlreadyExists.into());
    }
    // A link is kept: the file that it points to is replaced.
    let target = match old {
        Some(_) => fs::canonicalize(path)?,
        None => path.to_owned(),
    };
    let folder = match target.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let temp = TempFile::create(&folder).map_err(cause)?;
    (&temp).write_all(text.as_bytes())?;
    if let Some(old) = old {
        fs::set_permissions(temp.path(), old.permissions())?;
    }
    if !force && fs::symlink_metadata(&target).is_ok() {
        // It was created in the meantime.
        return Err(ErrorKind::AlreadyExists.into());
    }
    temp.persist(&target).map_err(cause)?;
    sync_dir(&folder).map_err(cause)
}

/// The error of the file system, without the name of the temporary file.
fn cause(e: StoreError) -> io::Error {
    match e {
        StoreError::Io { source, .. } => source,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_only_with_force_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        written(&path, "one", false).unwrap();
        let refused = written(&path, "two", false).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        written(&path, "two", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(names(dir.path()), ["a"]);
        let folder = written(dir.path(), "x", true).unwrap_err();
        assert_eq!(folder.kind(), ErrorKind::IsADirectory);
        let missing = written(&dir.path().join("no/a"), "x", false).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[cfg(unix)]
    #[test]
    fn links_permissions_and_devices_stay_what_they_are() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("file", &link).unwrap();
        written(&link, "new", true).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        written(Path::new("/dev/null"), "x", false).unwrap();
        let null = fs::metadata("/dev/null").unwrap().file_type();
        assert!(null.is_char_device());
    }
}
