//! Reads PyTorch archives: zip files with a pickle of a dictionary of tensors, and the tensors'
//! bytes.
//!
//! candle does the reading. Content with which it would panic or exhaust memory is refused before.

use std::io::{BufReader, Read};
use std::path::Path;

use candle_core::pickle::PthTensors;
use gfm_pipe_api::files;
use zip::ZipArchive;

use crate::{Refused, Tensors, check_finite, form, pickle};

/// Largest pickle, in bytes. (That of a thousand tensors has some hundred kilobytes.)
const MAX_PICKLE: u64 = 64 << 20;

/// Reads the tensors of a file: those under `key`, if it is given and exists, else all.
///
/// # Errors
/// When it is not an archive, or a value is not finite.
pub fn read_archive(file: &Path, key: Option<&str>) -> Result<Tensors, Refused> {
    look(file)?;
    let size = files::metadata(file)?.len();
    // The library's reader panics where a tuple of the pickle is shorter than PyTorch writes.
    let open = |key: Option<&str>| {
        std::panic::catch_unwind(|| PthTensors::new(file, key))
            .map_err(|_| Refused::new("its pickle is not one that PyTorch writes"))?
            .map_err(Refused::from)
    };
    let pth = match (key, open(key)) {
        (Some(_), Err(e)) if e.problem.contains("not found") => open(None)?,
        (_, opened) => opened?,
    };
    let mut out = Tensors::new();
    for (name, info) in pth.tensor_infos() {
        // A broken file may claim any shape. Tensors are stored uncompressed, so none is larger
        // than the file.
        let dims = info.layout.dims();
        let bytes = dims
            .iter()
            .try_fold(info.dtype.size_in_bytes() as u64, |n, d| {
                n.checked_mul(*d as u64)
            });
        if bytes.is_none_or(|n| n > size) {
            return Err(Refused::new(format!(
                "`{name}` is said to be {dims:?}, more than the file holds"
            )));
        }
        let tensor = pth.get(name)?;
        let tensor = tensor.ok_or_else(|| Refused::new(format!("`{name}` has no values")))?;
        check_finite(name, &tensor)?;
        out.insert(name.clone(), tensor);
    }
    Ok(out)
}

/// Checks a file before the library reads it: its format, its byte order, and its pickles.
fn look(file: &Path) -> Result<(), Refused> {
    let named = file.file_name().unwrap_or_default().to_string_lossy();
    let mut head = Vec::new();
    files::open(file)?
        .take(form::HEAD as u64)
        .read_to_end(&mut head)?;
    if let Some(refused) = form::not_an_archive(&head, &named) {
        return Err(refused);
    }
    let broken = |e: zip::result::ZipError| Refused::new(e.to_string());
    let mut zip = ZipArchive::new(BufReader::new(files::open(file)?)).map_err(broken)?;
    for at in 0..zip.len() {
        let mut entry = zip.by_index(at).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        if name.ends_with("byteorder") {
            let mut order = String::new();
            (&mut entry).take(16).read_to_string(&mut order)?;
            if order.trim() == "big" {
                return Err(form::big_endian(&named));
            }
        } else if name.ends_with("data.pkl") {
            let mut bytes = Vec::new();
            (&mut entry).take(MAX_PICKLE + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > MAX_PICKLE {
                return Err(Refused::new(format!(
                    "its pickle has more than {} MiB",
                    MAX_PICKLE >> 20
                )));
            }
            pickle::check(&bytes)?;
        }
    }
    Ok(())
}
