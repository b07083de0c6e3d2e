//! PyTorch's `.pth`: a zip archive with a pickle of `{"model": {name: tensor}}`, and the tensors' bytes beside it.
//!
//! Reading is candle's. Writing is the small part of pickle's protocol 2 that `torch.load(weights_only=True)` takes: a
//! dictionary of dense f32 tensors, each a view of a storage of its own. The same tensors give the same bytes.

use std::io::{Cursor, Write};
use std::path::Path;

use candle_core::pickle::PthTensors;
use gfm_pipe_api::{OpError, OpResult};
use zip::write::SimpleFileOptions;

use super::{Tensors, to_f32};
use crate::model::Params;
use crate::tensor::to_f32 as values;
use crate::tensor_error;

/// Tensors of a file: those under `model`, or of the whole where it is a bare state dictionary.
pub(super) fn read_pth(file: &Path) -> Result<Tensors, String> {
    let size = gfm_pipe_api::files::metadata(file)
        .map_err(|e| e.to_string())?
        .len();
    // The library's reader panics where a tuple of the pickle is shorter than PyTorch writes it.
    let open = |key: Option<&str>| {
        std::panic::catch_unwind(|| PthTensors::new(file, key))
            .map_err(|_| "its pickle is none that PyTorch writes".to_owned())?
            .map_err(|e| e.to_string())
    };
    let pth = match open(Some("model")) {
        Err(e) if e.contains("key model not found") => open(None)?,
        other => other?,
    };
    let mut out = Tensors::new();
    for (name, info) in pth.tensor_infos() {
        // A broken file may claim any shape; the tensors are stored as they are, so none is larger than the file.
        let bytes = info
            .layout
            .dims()
            .iter()
            .try_fold(info.dtype.size_in_bytes() as u64, |n, d| {
                n.checked_mul(*d as u64)
            });
        if bytes.is_none_or(|n| n > size) {
            return Err(format!(
                "`{name}` is said to be {:?}, more than the file holds",
                info.layout.dims()
            ));
        }
        let tensor = pth.get(name).map_err(|e| e.to_string())?;
        let tensor = tensor.ok_or_else(|| format!("`{name}` has no values"))?;
        out.insert(name.clone(), to_f32(&tensor)?);
    }
    Ok(out)
}

/// The bytes of `model.pth` with these parameters.
///
/// # Errors
/// When the archive cannot be written.
pub fn write_pth(params: &Params) -> OpResult<Vec<u8>> {
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
        OpError::wrap("failed to write a PyTorch archive", e)
    };
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut entry = |name: &str, bytes: &[u8]| -> OpResult<()> {
        zip.start_file(format!("model/{name}"), stored)
            .map_err(|e| failed(e.into()))?;
        zip.write_all(bytes).map_err(|e| failed(e.into()))
    };
    let shapes: Vec<(&str, &[usize])> = params.iter().map(|(n, t)| (n, t.dims())).collect();
    entry("data.pkl", &pickle(&shapes))?;
    entry("byteorder", b"little")?;
    for (i, (_, t)) in params.iter().enumerate() {
        let values: Vec<f32> = values(t).map_err(tensor_error)?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        entry(&format!("data/{i}"), &bytes)?;
    }
    entry("version", b"3\n")?;
    let done = zip.finish().map_err(|e| failed(e.into()))?;
    Ok(done.into_inner())
}

/// `{"model": {name: tensor, …}}`, the tensors by shape; storage i holds tensor i.
fn pickle(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let mut p = Pickle(vec![0x80, 2]);
    p.0.push(b'}');
    p.text("model");
    p.0.extend(b"}(");
    for (i, (name, shape)) in tensors.iter().enumerate() {
        p.text(name);
        p.tensor(i, shape);
    }
    // The inner dictionary's items; the outer one's only item; the end.
    p.0.extend(b"us.");
    p.0
}

struct Pickle(Vec<u8>);

impl Pickle {
    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    fn int(&mut self, n: usize) {
        match i32::try_from(n) {
            Ok(n) => {
                self.0.push(b'J');
                self.0.extend(n.to_le_bytes());
            }
            // LONG1: length in bytes, then little-endian; a zero byte on top keeps it positive.
            Err(_) => {
                self.0.extend([0x8a, 9]);
                self.0.extend((n as u64).to_le_bytes());
                self.0.push(0);
            }
        }
    }

    fn ints(&mut self, all: &[usize]) {
        self.0.push(b'(');
        all.iter().for_each(|n| self.int(*n));
        self.0.push(b't');
    }

    /// `torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)`.
    fn tensor(&mut self, storage: usize, shape: &[usize]) {
        let count: usize = shape.iter().product();
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i] * shape[i];
        }
        self.0.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.text("storage");
        self.0.extend(b"ctorch\nFloatStorage\n");
        self.text(&storage.to_string());
        self.text("cpu");
        self.int(count);
        // The tuple of the storage becomes a persistent id.
        self.0.extend(b"tQ");
        self.int(0);
        self.ints(shape);
        self.ints(&strides);
        // False, an empty OrderedDict; the arguments end, the call.
        self.0.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
}
