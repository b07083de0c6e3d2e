//! A device whose kernels run on the CPU, its memory the process's own.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use half::bf16;

use super::driver::{Driver, Kind, Launch, Place, Product};
use super::{Error, Memory};
use crate::gemm::{Mat, gemm};

unsafe extern "C" {
    fn gfm_emulated_launch(
        name: *const c_char,
        grid: *const c_uint,
        block: *const c_uint,
        shared: usize,
        args: *const c_void,
        type_name: *const c_char,
        size: usize,
    ) -> c_int;
    fn gfm_emulated_backward(backward: c_int);
}

/// Held during a launch: the emulation keeps the state of the running kernel in global variables.
static RUNNING: Mutex<()> = Mutex::new(());

/// Memory starts at multiples of this many bytes, as CUDA's does.
const ALIGNED: usize = 256;

/// See the module.
#[derive(Default)]
pub(super) struct Emulated {
    blocks: Mutex<HashMap<u64, Vec<u128>>>,
}

/// Whether the threads of a block take their turns from the last to the first.
static BACKWARD: AtomicBool = AtomicBool::new(false);

/// Sets the order in which the threads of all blocks take their turns. No result may depend on it.
#[cfg(test)]
pub(super) fn run_backward(backward: bool) {
    BACKWARD.store(backward, Ordering::SeqCst);
}

fn failed(what: &str, why: impl ToString) -> Error {
    Error::Failed {
        what: what.to_owned(),
        why: why.to_string(),
    }
}

impl Driver for Emulated {
    fn name(&self) -> String {
        "emulated GPU".to_owned()
    }

    fn identity(&self) -> Result<String, Error> {
        Ok(format!("emulated by process {}", std::process::id()))
    }

    fn memory(&self) -> Result<Memory, Error> {
        let total = 64 << 30;
        Ok(Memory { free: total, total })
    }

    fn allocate(&self, bytes: usize) -> Result<u64, Error> {
        let words = (bytes + ALIGNED).div_ceil(16);
        // Not zeros, so that tests notice a kernel that reads memory which was never written.
        let block = vec![0x7fbf_7fbf_7fbf_7fbf_7fbf_7fbf_7fbf_7fbf_u128; words];
        let at = (block.as_ptr() as usize).next_multiple_of(ALIGNED) as u64;
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.insert(at, block);
        Ok(at)
    }

    fn free(&self, at: u64, _: usize) {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.remove(&at);
    }

    fn fill(&self, at: u64, byte: u8, bytes: usize) -> Result<(), Error> {
        // SAFETY: callers make sure that the range lies in a block of ours.
        unsafe { std::ptr::write_bytes(at as *mut u8, byte, bytes) };
        Ok(())
    }

    fn upload(&self, to: u64, from: &[u8]) -> Result<(), Error> {
        // SAFETY: as in `fill`; a block of ours and memory of the caller's do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len()) };
        Ok(())
    }

    fn download(&self, to: &mut [u8], from: u64) -> Result<(), Error> {
        // SAFETY: as in `upload`.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), Error> {
        // SAFETY: as in `fill`, for both ranges.
        unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), Error> {
        let what = || format!("launching `{}`", launch.name);
        let text = |s: &str| CString::new(s).map_err(|e| failed(&what(), e));
        let (name, type_name) = (text(launch.name)?, text(launch.layout.name)?);
        let _one = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: `args` points to a struct of `layout`, which the emulation compares with the one
        // that the kernel takes. There is one launch at a time. The addresses in the struct are
        // those of live vectors, whose lengths the callers check, as for a GPU.
        let code = unsafe {
            gfm_emulated_backward(BACKWARD.load(Ordering::SeqCst).into());
            gfm_emulated_launch(
                name.as_ptr(),
                launch.grid.as_ptr(),
                launch.block.as_ptr(),
                launch.shared as usize,
                launch.args,
                type_name.as_ptr(),
                launch.layout.size,
            )
        };
        match code {
            0 => Ok(()),
            1 => Err(failed(&what(), "there is no such kernel")),
            _ => Err(failed(&what(), "it takes another struct")),
        }
    }

    fn product(&self, p: &Product) -> Result<(), Error> {
        match p.factors {
            Kind::F64 => multiply::<f64>(p, read::<f64>),
            Kind::F32 => multiply::<f32>(p, read::<f32>),
            Kind::Bf16 => multiply::<f32>(p, |place, rows, columns| {
                let wide = read::<bf16>(place, rows, columns).into_iter();
                wide.map(bf16::to_f32).collect()
            }),
        }
        Ok(())
    }

    fn wait(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Copies a matrix as it lies in memory, without the gaps between its rows.
fn read<E: Copy>(place: Place, rows: usize, columns: usize) -> Vec<E> {
    let mut out = Vec::with_capacity(rows * columns);
    for r in 0..rows {
        // SAFETY: callers of `product` make sure that the matrix lies in a block of ours.
        let row = unsafe {
            std::slice::from_raw_parts((place.at as *const E).add(r * place.stride), columns)
        };
        out.extend_from_slice(row);
    }
    out
}

/// Computes a product in type `T`; `read` copies a matrix of so many rows and columns as it lies.
fn multiply<T: crate::Real>(p: &Product, read: impl Fn(Place, usize, usize) -> Vec<T>) {
    let Product { m, k, n, .. } = *p;
    let copied = |place: Place, rows: usize, columns: usize| {
        if place.transposed {
            read(place, columns, rows)
        } else {
            read(place, rows, columns)
        }
    };
    let (a, b) = (copied(p.a, m, k), copied(p.b, k, n));
    let mat = |x, place: Place, rows, columns| {
        if place.transposed {
            Mat::new(x, columns, rows).t()
        } else {
            Mat::new(x, rows, columns)
        }
    };
    let mut c = vec![T::zero(); m * n];
    gemm(&mut c, mat(&a, p.a, m, k), mat(&b, p.b, k, n), false);
    for (r, row) in c.chunks_exact(n.max(1)).enumerate() {
        for (i, value) in row.iter().enumerate() {
            let at = r * p.c.stride + i;
            // SAFETY: as in `read`, for the result.
            unsafe {
                match p.result {
                    Kind::F32 => put(p.c.at as *mut f32, at, value.f64(), p.add, |x| x as f32),
                    Kind::F64 => put(p.c.at as *mut f64, at, value.f64(), p.add, |x| x),
                    Kind::Bf16 => {
                        let to = (p.c.at as *mut bf16).add(at);
                        let old = if p.add { (*to).to_f32() } else { 0.0 };
                        *to = bf16::from_f32(old + value.f64() as f32);
                    }
                }
            }
        }
    }
}

/// # Safety
/// `to` must have that many values.
unsafe fn put<E: Copy + std::ops::Add<Output = E>>(
    to: *mut E,
    at: usize,
    value: f64,
    add: bool,
    narrow: impl Fn(f64) -> E,
) {
    // SAFETY: the caller's.
    unsafe {
        let to = to.add(at);
        *to = if add {
            *to + narrow(value)
        } else {
            narrow(value)
        };
    }
}
