//! Compiles the GPU kernels of `gpu/`: with nvcc for devices (feature `cuda`), with the C++
//! compiler for their emulation (feature `gpu-emulation`). Without these features it does nothing.

fn main() {
    println!("cargo::rerun-if-changed=gpu");
    #[cfg(feature = "cuda")]
    cuda::build();
    #[cfg(feature = "gpu-emulation")]
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .flag("-Wno-unknown-pragmas")
        // Extremes are found again by their bits.
        .flag_if_supported("-ffp-contract=off")
        .file("gpu/emulated.cpp")
        .compile("gfm_emulated");
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::path::PathBuf;
    use std::process::Command;

    /// Devices the kernels are compiled for; the last one's PTX is kept for later ones.
    const ARCHITECTURES: &[&str] = &["80", "90"];

    fn nvcc() -> PathBuf {
        for name in ["NVCC", "CUDA_HOME", "CUDA_PATH"] {
            println!("cargo::rerun-if-env-changed={name}");
        }
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
        if let Some(nvcc) = set("NVCC") {
            return nvcc.into();
        }
        let homes = ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(|n| set(n));
        let homes = homes
            .map(PathBuf::from)
            .chain([PathBuf::from("/usr/local/cuda")]);
        let mut found = homes.map(|h| h.join("bin/nvcc")).filter(|p| p.exists());
        found.next().unwrap_or_else(|| "nvcc".into())
    }

    fn run(command: &mut Command) -> String {
        let out = command.output().unwrap_or_else(|e| {
            panic!(
                "{e}: cannot run {:?}. The feature `cuda` needs CUDA's compiler: put nvcc on PATH, or set CUDA_HOME or NVCC; \
                 `scripts/cuda-toolkit` fetches it from PyPI (docs/cuda.md)",
                command.get_program()
            )
        });
        assert!(
            out.status.success(),
            "{command:?} failed:\n{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    pub fn build() {
        let nvcc = nvcc();
        let version = run(Command::new(&nvcc).arg("--version"));
        // "Cuda compilation tools, release 13.0, V13.0.48"
        let release = version
            .split("release ")
            .nth(1)
            .and_then(|s| s.split([',', '\n']).next())
            .and_then(|v| v.trim().split_once('.'))
            .and_then(|(a, b)| Some((a.parse::<u32>().ok()?, b.parse::<u32>().ok()?)));
        let Some((major, minor)) = release else {
            panic!(
                "{} --version does not say its release:\n{version}",
                nvcc.display()
            );
        };
        println!(
            "cargo::rustc-env=GFM_CUDA_VERSION={}",
            major * 1000 + minor * 10
        );
        let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
        let mut command = Command::new(&nvcc);
        command.args(["-std=c++17", "-O3", "-fatbin", "gpu/kernels.cu", "-o"]);
        command.arg(out.join("kernels.fatbin"));
        if (major, minor) >= (12, 9) {
            command.arg("--compress-mode=size");
        }
        for arch in ARCHITECTURES {
            command.arg(format!("-gencode=arch=compute_{arch},code=sm_{arch}"));
        }
        if let Some(last) = ARCHITECTURES.last() {
            command.arg(format!("-gencode=arch=compute_{last},code=compute_{last}"));
        }
        run(&mut command);
    }
}
