//! Descriptions of structs, counted memory, and a ring of one rank.

use super::*;

kernel_arguments! {
    struct NoKernelTakesThis {
        x: u64,
    }
}

#[test]
fn structs_are_described() {
    assert_eq!(LAYOUTS.len(), 1);
    assert_eq!((LAYOUTS[0].name, LAYOUTS[0].size), ("NoKernelTakesThis", 8));
}

#[test]
fn a_device_may_only_count() {
    let gpu = Gpu::counting();
    let x = gpu.vector(&[1.0f64; 100]).unwrap();
    let sums = gpu.zeros::<f64>(10).unwrap();
    sum_rows(x.view(), sums.view(), 10).unwrap();
    assert_eq!(sums.read().unwrap(), [0.0; 10]);
    // The sums of one part, and where it starts and ends.
    assert_eq!(
        gpu.used(),
        Used {
            now: 880,
            peak: 880 + 80 + 8
        }
    );
}

#[cfg(feature = "gpu-emulation")]
#[test]
fn memory_is_counted_and_kernels_are_checked() {
    let gpu = Gpu::emulated();
    let a = gpu.zeros::<f64>(100).unwrap();
    drop(gpu.zeros::<f32>(10).unwrap());
    assert_eq!(
        gpu.used(),
        Used {
            now: 800,
            peak: 840
        }
    );
    gpu.forget_peak();
    assert_eq!(
        gpu.used(),
        Used {
            now: 800,
            peak: 800
        }
    );
    drop(a);
    assert_eq!(gpu.used().now, 0);
    let args = NoKernelTakesThis { x: 0 };
    let wrong = gpu.launch("cast_bf16_f32", [1, 1, 1], [1, 1, 1], 0, &args);
    assert!(wrong.unwrap_err().to_string().contains("another struct"));
    let none = gpu.launch("cast_f16_f32", [1, 1, 1], [1, 1, 1], 0, &args);
    assert!(none.unwrap_err().to_string().contains("no such kernel"));
}

/// More members need more devices; one tells whether NCCL is called as it must be.
#[cfg(feature = "nccl")]
#[test]
fn a_ring_of_one_adds_up_what_it_has() {
    let Some(gpu) = device() else { return };
    let name = match gpu.ring_name() {
        Ok(name) => name,
        Err(e) => {
            gfm_pipe_testing::skip("nccl", &e.to_string());
            return;
        }
    };
    assert_eq!(gpu.identity().unwrap().len(), 32);
    let ring = gpu.join(&name, 0, 1).unwrap();
    let values: Vec<f64> = (0..1000).map(|i| f64::from(i) * 0.5 - 7.0).collect();
    let wide = gpu.vector(&values).unwrap();
    ring.add_up(wide.view()).unwrap();
    assert_eq!(wide.read().unwrap(), values);
    let values: Vec<f32> = values.iter().map(|x| *x as f32).collect();
    let narrow = gpu.vector(&values).unwrap();
    ring.add_up(narrow.view()).unwrap();
    assert_eq!(narrow.read().unwrap(), values);
    // Of another ring afterwards.
    let ring = gpu.join(&gpu.ring_name().unwrap(), 0, 1).unwrap();
    ring.add_up(narrow.view()).unwrap();
    assert_eq!(narrow.read().unwrap(), values);
}
