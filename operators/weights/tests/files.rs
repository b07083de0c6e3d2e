//! Files of weights as other programs write them, sound and not.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::io::{Cursor, Write};
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use gfm_pipe_api::ErrorKind;
use gfm_pipe_weights::{Refused, Tensors, check_finite, read_archive, read_safetensors, unwrapped};
use zip::write::SimpleFileOptions;

/// A file in its own folder.
struct Written {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn written(name: &str, bytes: &[u8]) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    Written {
        _folder: folder,
        path,
    }
}

/// An archive as PyTorch writes one.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(format!("model/{name}"), stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A pickle of a dictionary with one f32 vector of three values in storage 0.
fn state(name: &str) -> Vec<u8> {
    let text = |t: &str| {
        let mut out = b"X".to_vec();
        out.extend((t.len() as u32).to_le_bytes());
        out.extend(t.as_bytes());
        out
    };
    let mut p = b"\x80\x02}".to_vec();
    p.extend(text(name));
    p.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    p.extend(text("storage"));
    p.extend(b"ctorch\nFloatStorage\n");
    p.extend([text("0"), text("cpu")].concat());
    p.extend(b"K\x03tQK\x00K\x03\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs.");
    p
}

fn bytes(values: [f32; 3]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn pth(name: &str, values: [f32; 3], order: &str) -> Vec<u8> {
    archive(&[
        ("data.pkl", &state(name)),
        ("byteorder", order.as_bytes()),
        ("data/0", &bytes(values)),
    ])
}

fn refused(name: &str, content: &[u8]) -> Refused {
    let file = written(name, content);
    let e = if name.ends_with(".safetensors") {
        read_safetensors(&file.path).unwrap_err()
    } else {
        read_archive(&file.path, None).unwrap_err()
    };
    assert_eq!(e.kind, ErrorKind::Data, "{e}");
    e
}

#[test]
fn a_file_that_cannot_be_read_is_no_fault_of_the_data() {
    for e in [
        read_safetensors("none.safetensors".as_ref()).unwrap_err(),
        read_archive("none.pth".as_ref(), None).unwrap_err(),
    ] {
        assert_eq!(e.kind, ErrorKind::User, "{e}");
    }
}

fn safetensors_of(name: &str, tensor: Tensor) -> Vec<u8> {
    safetensors::serialize([(name, &tensor)], None).unwrap()
}

#[test]
fn what_is_sound_is_read() {
    let file = written("a.pth", &pth("w", [1.0, -2.0, 3.5], "little"));
    let tensors = read_archive(&file.path, Some("model")).unwrap();
    let values: Vec<f32> = tensors["w"].to_vec1().unwrap();
    assert_eq!(values, [1.0, -2.0, 3.5]);
}

#[test]
fn files_that_are_something_else_are_named_for_what_they_are() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 438007537\n";
    let legacy = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.";
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    let zip = pth("w", [0.0; 3], "little");
    let tensors = safetensors_of("w", Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap());
    for (name, content, said) in [
        (
            "a.pth",
            &pointer[..],
            "a Git LFS pointer to a file of 438007537 bytes",
        ),
        (
            "a.safetensors",
            pointer,
            "a Git LFS pointer to a file of 438007537 bytes",
        ),
        ("a.pth", legacy, "the format that PyTorch wrote before 1.6"),
        ("a.pth", &tar, "a tar archive"),
        ("a.pth", &pth("w", [0.0; 3], "big"), "big-endian"),
        ("a.pth", &tensors, "a safetensors file"),
        ("a.safetensors", &zip, "a PyTorch file"),
        ("a.pth", b"PAR1\x15\x04", "a Parquet file"),
        ("a.pth", b"\x80\x04\x95\x10", "a bare pickle"),
        ("a.pth", b"", "it is empty"),
        ("a.safetensors", b"", "it is empty"),
        ("a.pth", b" <!DOCTYPE html><html>", "a web page"),
    ] {
        let e = refused(name, content);
        assert!(e.problem.contains(said), "{name}: {e}");
        assert!(e.hint.is_some(), "{name}: {e}");
    }
    let hint = refused("net.pth", legacy).hint.unwrap();
    assert!(hint.contains("torch.load(\"net.pth\""), "{hint}");
}

#[test]
fn values_that_are_no_numbers_are_refused_by_name_and_place() {
    for (values, said) in [
        ([0.0, f32::NAN, 1.0], "`w` holds NaN at [1]"),
        (
            [0.0, f32::NEG_INFINITY, f32::NAN],
            "`w` holds -inf at [1], and one more value",
        ),
    ] {
        let e = refused("a.pth", &pth("w", values, "little"));
        assert!(e.problem.contains(said), "{e}");
        let tensor = Tensor::new(&values, &Device::Cpu).unwrap();
        let e = refused("a.safetensors", &safetensors_of("w", tensor));
        assert!(e.problem.contains(said), "{e}");
    }
    // Whatever the type, and by row and column.
    let wide = Tensor::new(&[[1.0f64, 2.0], [1e300, 4.0]], &Device::Cpu).unwrap();
    let e = check_finite("w", &wide).unwrap_err();
    assert!(
        e.problem
            .contains("`w` holds a value at [1, 0] that is too large for f32"),
        "{e}"
    );
    let wide = Tensor::new(&[[1.0f32, 2.0], [3.0, f32::INFINITY]], &Device::Cpu).unwrap();
    for dtype in [DType::F64, DType::BF16, DType::F16] {
        let e = check_finite("w", &wide.to_dtype(dtype).unwrap()).unwrap_err();
        assert!(e.problem.contains("`w` holds inf at [1, 1]"), "{e}");
    }
    check_finite(
        "ids",
        &Tensor::new(&[1i64, i64::MAX], &Device::Cpu).unwrap(),
    )
    .unwrap();
    check_finite(
        "none",
        &Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap(),
    )
    .unwrap();
}

#[test]
fn a_pickle_of_200_000_levels_is_refused() {
    let mut deep = b"\x80\x02)".to_vec();
    deep.extend(b"\x85".repeat(200_000));
    deep.push(b'.');
    let e = refused("a.pth", &archive(&[("data.pkl", &deep)]));
    assert!(e.problem.contains("more than 200 levels deep"), "{e}");
}

#[test]
fn a_safetensors_header_of_200_000_levels_is_refused() {
    let json = format!("{{\"w\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    let mut content = (json.len() as u64).to_le_bytes().to_vec();
    content.extend(json.bytes());
    refused("a.safetensors", &content);
    let json = format!("{{\"__metadata__\":{}", "{\"a\":".repeat(200_000));
    let mut content = (json.len() as u64).to_le_bytes().to_vec();
    content.extend(json.bytes());
    refused("a.safetensors", &content);
}

#[test]
fn wrappers_are_taken_from_names() {
    let some = |names: &[&str]| -> Tensors {
        let zero = || Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
        names.iter().map(|n| ((*n).to_owned(), zero())).collect()
    };
    let plain = |names: &[&str]| {
        let (out, said) = unwrapped(some(names)).unwrap();
        (out.into_keys().collect::<Vec<_>>(), said)
    };
    let (names, said) = plain(&["module._orig_mod.a.weight", "module._orig_mod.b"]);
    assert_eq!(names, ["a.weight", "b"]);
    let said = said.unwrap();
    assert!(said.contains("`_orig_mod.` and `module.`"), "{said}");
    let (names, _) = plain(&["_orig_mod.module.a", "_orig_mod.module.b"]);
    assert_eq!(names, ["a", "b"]);
    // Compiled parts; and a part that is called so is none of a wrapper's.
    let (names, said) = plain(&["a._orig_mod.weight", "module.b"]);
    assert_eq!(names, ["a.weight", "module.b"]);
    assert!(!said.unwrap().contains("module.`,"));
    assert_eq!(
        plain(&["a", "module.b"]),
        (vec!["a".to_owned(), "module.b".to_owned()], None)
    );
    assert_eq!(plain(&[]).1, None);
    assert!(unwrapped(some(&["a", "_orig_mod.a"])).is_err());
}

#[test]
fn damage_is_an_error_and_no_panic() {
    let good = pth("w", [1.0, 2.0, 3.0], "little");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        let file = written("a.pth", &bad);
        let _ = read_archive(&file.path, Some("model"));
        if at % 7 == 0 {
            let file = written("a.pth", &good[..at]);
            read_archive(&file.path, None).unwrap_err();
        }
    }
}
