//! GFLOP/s of one thread: products of the shapes of a layer's blocks (512 rows at a time), and a
//! large one. See `run`.

use std::time::Instant;

use libloading::{Library, Symbol};

/// `c = a b` in f32: sizes m, n, k; a is `m x k` or stored transposed, b `k x n` or stored
/// transposed, all row-major.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    m: usize,
    n: usize,
    k: usize,
    a_t: bool,
    b_t: bool,
}

impl Case {
    /// (row stride, column stride) of a and b.
    fn strides(&self) -> [(usize, usize); 2] {
        let a = if self.a_t { (1, self.m) } else { (self.k, 1) };
        let b = if self.b_t { (1, self.k) } else { (self.n, 1) };
        [a, b]
    }
}

type Product = Box<dyn Fn(&Case, &[f32], &[f32], &mut [f32])>;

fn by_gemm(s: &Case, a: &[f32], b: &[f32], c: &mut [f32]) {
    let [(ar, ac), (br, bc)] = s.strides();
    // SAFETY: `main` makes all three slices as long as the case says, and strides stay inside.
    unsafe {
        gemm::gemm(
            s.m,
            s.n,
            s.k,
            c.as_mut_ptr(),
            1,
            s.n as isize,
            false,
            a.as_ptr(),
            ac as isize,
            ar as isize,
            b.as_ptr(),
            bc as isize,
            br as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn by_matrixmultiply(s: &Case, a: &[f32], b: &[f32], c: &mut [f32]) {
    let [(ar, ac), (br, bc)] = s.strides();
    // SAFETY: as above.
    unsafe {
        matrixmultiply::sgemm(
            s.m,
            s.k,
            s.n,
            1.0,
            a.as_ptr(),
            ar as isize,
            ac as isize,
            b.as_ptr(),
            br as isize,
            bc as isize,
            0.0,
            c.as_mut_ptr(),
            s.n as isize,
            1,
        );
    }
}

fn by_faer(s: &Case, a: &[f32], b: &[f32], c: &mut [f32]) {
    use faer::{
        Accum, Par,
        mat::{MatMut, MatRef},
    };
    let a = match s.a_t {
        true => MatRef::from_row_major_slice(a, s.k, s.m).transpose(),
        false => MatRef::from_row_major_slice(a, s.m, s.k),
    };
    let b = match s.b_t {
        true => MatRef::from_row_major_slice(b, s.n, s.k).transpose(),
        false => MatRef::from_row_major_slice(b, s.k, s.n),
    };
    let c = MatMut::from_row_major_slice_mut(c, s.m, s.n);
    faer::linalg::matmul::matmul(c, Accum::Replace, a, b, 1.0, Par::Seq);
}

type Sgemm = unsafe extern "C" fn(
    i32,
    i32,
    i32,
    i32,
    i32,
    i32,
    f32,
    *const f32,
    i32,
    *const f32,
    i32,
    f32,
    *mut f32,
    i32,
);

/// A library with the C interface of BLAS.
fn by_blas(names: &[&str]) -> Option<Product> {
    // SAFETY: these libraries do nothing when they are loaded but look at the processor.
    let library = names.iter().find_map(|n| unsafe { Library::new(*n) }.ok())?;
    // SAFETY: the type is that of BLAS's C interface with 32-bit integers.
    let found: Symbol<'_, Sgemm> = unsafe { library.get(b"cblas_sgemm") }.ok()?;
    let sgemm = *found;
    // The function must outlive this.
    std::mem::forget(library);
    Some(Box::new(move |s, a, b, c| {
        const ROW_MAJOR: i32 = 101;
        let op = |transposed: bool| if transposed { 112 } else { 111 };
        let lda = if s.a_t { s.m } else { s.k };
        let ldb = if s.b_t { s.k } else { s.n };
        let (m, n, k) = (s.m as i32, s.n as i32, s.k as i32);
        // SAFETY: as in `by_gemm`.
        unsafe {
            sgemm(
                ROW_MAJOR,
                op(s.a_t),
                op(s.b_t),
                m,
                n,
                k,
                1.0,
                a.as_ptr(),
                lda as i32,
                b.as_ptr(),
                ldb as i32,
                0.0,
                c.as_mut_ptr(),
                n,
            );
        }
    }))
}

fn gflops(f: &Product, case: &Case) -> f64 {
    let some =
        |n: usize| -> Vec<f32> { (0..n).map(|i| (i % 1013) as f32 / 1013.0 - 0.5).collect() };
    let (a, b) = (some(case.m * case.k), some(case.k * case.n));
    let mut c = vec![0f32; case.m * case.n];
    let flop = 2.0 * (case.m * case.n * case.k) as f64;
    let times = (2e9 / flop) as usize + 1;
    let mut all: Vec<f64> = (0..6)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..times {
                f(case, &a, &b, &mut c);
                std::hint::black_box(&mut c);
            }
            times as f64 * flop / start.elapsed().as_secs_f64() / 1e9
        })
        .skip(1)
        .collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    let mut cases = Vec::new();
    for d in [64, 128, 512] {
        let case = |name, m, n, k, a_t, b_t| Case {
            name,
            m,
            n,
            k,
            a_t,
            b_t,
        };
        cases.push(case("states x weight'", 512, d, d, false, true));
        cases.push(case("gradient x weight", 512, d, d, false, false));
        cases.push(case("gradient' x states", d, d, 512, true, false));
    }
    cases.push(Case {
        name: "large",
        m: 2048,
        n: 2048,
        k: 2048,
        a_t: false,
        b_t: false,
    });
    let mut libraries: Vec<(&str, Product)> = vec![
        ("gemm", Box::new(by_gemm)),
        ("faer", Box::new(by_faer)),
        ("matrixmultiply", Box::new(by_matrixmultiply)),
    ];
    let openblas = [
        "libopenblas.so.0",
        "/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0",
    ];
    let blis = [
        "libblis.so.4",
        "/usr/lib/x86_64-linux-gnu/blis-pthread/libblis.so.4",
    ];
    libraries.extend(by_blas(&openblas).map(|f| ("OpenBLAS", f)));
    libraries.extend(by_blas(&blis).map(|f| ("BLIS", f)));
    // All must give the same numbers, or the comparison means nothing.
    for case in &cases[..9] {
        let one = |f: &Product| {
            let (a, b): (Vec<f32>, Vec<f32>) = (
                (0..case.m * case.k).map(|i| (i % 7) as f32 - 3.0).collect(),
                (0..case.k * case.n).map(|i| (i % 5) as f32 - 2.0).collect(),
            );
            let mut c = vec![f32::NAN; case.m * case.n];
            f(case, &a, &b, &mut c);
            c
        };
        let want = one(&libraries[0].1);
        for (name, f) in &libraries {
            assert_eq!(one(f), want, "{name} computes {} otherwise", case.name);
        }
    }
    print!(
        "{:20} {:>5} {:>5} {:>5}",
        "GFLOP/s, one thread", "m", "n", "k"
    );
    libraries.iter().for_each(|(name, _)| print!(" {name:>14}"));
    println!();
    for case in &cases {
        print!("{:20} {:5} {:5} {:5}", case.name, case.m, case.n, case.k);
        for (_, f) in &libraries {
            print!(" {:14.1}", gflops(f, case));
        }
        println!();
    }
}
