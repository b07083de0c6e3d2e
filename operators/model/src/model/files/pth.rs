//! Writes PyTorch's `.pth`: a zip archive with a pickle of `{"model": {name: tensor}}`, and the
//! bytes of the tensors beside it.
//!
//! `gfm-pipe-weights` reads such files. This module writes the small part of pickle's protocol 2
//! that `torch.load(weights_only=True)` accepts: a dictionary of dense f32 tensors, each with its
//! own storage. The same tensors always make the same bytes.

use std::io::{Cursor, Write};

use gfm_pipe_api::{OpError, OpResult};
use zip::write::SimpleFileOptions;

use crate::model::Params;
use crate::tensor::to_f32 as values;
use crate::tensor_error;

/// The bytes of a `model.pth` with these parameters.
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
    let tensors = params.tensors.named();
    let shapes = tensors.iter().map(|(n, t)| (n.as_str(), t.dims()));
    let shapes: Vec<(&str, &[usize])> = shapes.collect();
    entry("data.pkl", &pickle(&shapes))?;
    entry("byteorder", b"little")?;
    for (i, t) in tensors.values().enumerate() {
        let values: Vec<f32> = values(t).map_err(tensor_error)?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        entry(&format!("data/{i}"), &bytes)?;
    }
    entry("version", b"3\n")?;
    let done = zip.finish().map_err(|e| failed(e.into()))?;
    Ok(done.into_inner())
}

/// The pickle of `{"model": {name: tensor, …}}` for tensors of these names and shapes. Tensor i is
/// in storage i.
fn pickle(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let mut p = Pickle(vec![0x80, 2]);
    p.0.push(b'}');
    p.text("model");
    p.0.extend(b"}(");
    for (i, (name, shape)) in tensors.iter().enumerate() {
        p.text(name);
        p.tensor(i, shape);
    }
    // Sets the items of the inner dictionary, sets the only item of the outer one, and ends.
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
        // False and an empty OrderedDict; then the end of the arguments and the call.
        self.0.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
}
