//! What goes wrong with a device.

use std::fmt;

/// Why something could not be done on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// This build has no support for CUDA.
    NotBuilt {
        /// The device that was requested.
        ordinal: usize,
    },
    /// No driver is installed.
    NoDriver,
    /// The driver is older than this build's toolkit.
    OldDriver {
        /// The newest CUDA version that the driver supports, as major * 1000 + minor * 10.
        has: i32,
        /// The version that this build needs.
        needs: i32,
    },
    /// There are not that many devices.
    NoDevice {
        /// The device that was requested.
        ordinal: usize,
        /// Number of devices.
        count: usize,
    },
    /// The device is older than the kernels of this build.
    OldDevice {
        /// Its name.
        name: String,
        /// Its compute capability, as major * 10 + minor.
        has: i32,
    },
    /// One of CUDA's libraries is not installed.
    NoLibrary {
        /// Its name.
        name: &'static str,
    },
    /// There is not enough memory on the device.
    OutOfMemory {
        /// Bytes that were requested.
        wanted: usize,
        /// The device's memory, if it could be queried.
        memory: Option<super::Memory>,
    },
    /// The driver or a library reports an error.
    Failed {
        /// What failed.
        what: String,
        /// The error that was reported.
        why: String,
    },
}

/// A number of bytes, in a unit that is easy to read.
fn gib(bytes: usize) -> String {
    match bytes {
        0..1_048_576 => format!("{bytes} bytes"),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

fn version(v: i32) -> String {
    format!("{}.{}", v / 1000, v % 1000 / 10)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotBuilt { ordinal } => write!(
                f,
                "cuda:{ordinal} was asked for, and this gfm-pipe was built without CUDA"
            ),
            Error::NoDriver => write!(
                f,
                "no NVIDIA driver is installed (libcuda.so.1 was not found)"
            ),
            Error::OldDriver { has, needs } => write!(
                f,
                "the NVIDIA driver knows CUDA up to {}, and this binary was built with CUDA {}",
                version(*has),
                version(*needs)
            ),
            Error::NoDevice { ordinal, count: 0 } => {
                write!(
                    f,
                    "cuda:{ordinal} was asked for, and there is no CUDA device"
                )
            }
            Error::NoDevice { ordinal, count } => write!(
                f,
                "cuda:{ordinal} was asked for, and there are only cuda:0 to cuda:{}",
                count - 1
            ),
            Error::OldDevice { name, has } => write!(
                f,
                "{name} has compute capability {}.{}, and this binary has kernels for 8.0 and later",
                has / 10,
                has % 10
            ),
            Error::NoLibrary { name } => write!(f, "the library {name} was not found"),
            Error::OutOfMemory { wanted, memory } => {
                write!(f, "the device has no memory left for {}", gib(*wanted))?;
                match memory {
                    Some(m) => write!(f, " ({} of {} are free)", gib(m.free), gib(m.total)),
                    None => Ok(()),
                }
            }
            Error::Failed { what, why } => write!(f, "{what} failed on the device: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::NotBuilt { .. } => {
                "build it with `cargo build --release --features cuda` (docs/cuda.md), or use `--device cpu`"
            }
            Error::NoDriver => "install NVIDIA's driver, or use `--device cpu`",
            Error::OldDriver { .. } => {
                "install a newer driver, or build with an older CUDA toolkit, or use `--device cpu`"
            }
            Error::NoDevice { .. } | Error::OldDevice { .. } => {
                "`nvidia-smi -L` lists the devices; CUDA_VISIBLE_DEVICES hides some; or use `--device cpu`"
            }
            Error::NoLibrary { .. } => {
                "install CUDA's libraries and put their folder into LD_LIBRARY_PATH, or use `--device cpu`"
            }
            Error::OutOfMemory { .. } => {
                "lower `train.batch_size`, or set `train.recompute: true` or `train.dtype: bf16`; \
                 `gfm-pipe plan --device cuda` estimates what a stage needs"
            }
            Error::Failed { .. } => {
                "`nvidia-smi` shows the device's state; the kernel log (dmesg) lists its errors (Xid)"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Memory;

    #[test]
    fn every_error_says_what_and_what_next() {
        let all = [
            Error::NoDriver,
            Error::OldDriver {
                has: 12040,
                needs: 13000,
            },
            Error::NoDevice {
                ordinal: 2,
                count: 0,
            },
            Error::NoDevice {
                ordinal: 2,
                count: 2,
            },
            Error::OldDevice {
                name: "Tesla V100".to_owned(),
                has: 70,
            },
            Error::NoLibrary {
                name: "libcublas.so.13",
            },
            Error::OutOfMemory {
                wanted: 3 << 29,
                memory: Some(Memory {
                    free: 700 << 20,
                    total: 80 << 30,
                }),
            },
            Error::Failed {
                what: "launching `messages`".to_owned(),
                why: "Xid".to_owned(),
            },
        ];
        let text: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(
            text[1],
            "the NVIDIA driver knows CUDA up to 12.4, and this binary was built with CUDA 13.0"
        );
        assert_eq!(
            text[3],
            "cuda:2 was asked for, and there are only cuda:0 to cuda:1"
        );
        assert_eq!(
            text[6],
            "the device has no memory left for 1.5 GiB (700.0 MiB of 80.0 GiB are free)"
        );
        assert!(all.iter().all(|e| e.hint().len() > 20));
    }
}
