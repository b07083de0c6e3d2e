//! Structs that kernels take, described once.
//!
//! [`kernel_arguments`] defines a struct on the Rust side with a description of it. From all
//! descriptions [`kernels_header`] makes `gpu/generated.h`, in which the C++ side finds the size
//! and the offset of every field of its own definition asserted: a struct that differs, or that has
//! no description, does not compile. A test compares the file with what is generated.

use std::fmt::Write;

use crate::message::Function;

/// A struct that a kernel takes, as it lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Its name on both sides.
    pub name: &'static str,
    /// Bytes.
    pub size: usize,
    pub fields: &'static [Field],
}

/// A field of such a struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// Its name on both sides.
    pub name: &'static str,
    /// Bytes before it.
    pub offset: usize,
}

/// A kernel's argument.
pub(super) trait Arguments: Copy {
    const LAYOUT: Layout;
}

/// Defines structs that kernels take, all in one block of a file. Addresses are `u64`; 0 stands for
/// an optional one that is missing. Besides the structs it defines `LAYOUTS`, which
/// [`kernels_header`] lists.
macro_rules! kernel_arguments {
    ($(
        $(#[$meta:meta])*
        $vis:vis struct $Name:ident {
            $($field_vis:vis $field:ident: $Type:ty,)*
        }
    )*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy)]
            #[repr(C)]
            $vis struct $Name {
                $($field_vis $field: $Type,)*
            }

            impl $crate::gpu::layout::Arguments for $Name {
                const LAYOUT: $crate::gpu::layout::Layout = $crate::gpu::layout::Layout {
                    name: stringify!($Name),
                    size: size_of::<$Name>(),
                    fields: &[$($crate::gpu::layout::Field {
                        name: stringify!($field),
                        offset: std::mem::offset_of!($Name, $field),
                    }),*],
                };
            }
        )*

        pub(super) const LAYOUTS: &[$crate::gpu::layout::Layout] =
            &[$(<$Name as $crate::gpu::layout::Arguments>::LAYOUT),*];
    };
}

pub(super) use kernel_arguments;

/// All structs that kernels take.
fn layouts() -> impl Iterator<Item = &'static Layout> {
    [
        super::device_rows::LAYOUTS,
        super::edges::LAYOUTS,
        super::extremes::LAYOUTS,
        super::heads::LAYOUTS,
        super::losses::LAYOUTS,
        super::messages::LAYOUTS,
        super::norms::LAYOUTS,
        super::optimizer::LAYOUTS,
        super::rows::LAYOUTS,
        super::scales::LAYOUTS,
        super::sums::LAYOUTS,
    ]
    .into_iter()
    .flatten()
}

/// What the C++ side must know of the Rust side, as the text of `gpu/generated.h`: the structs that
/// kernels take, and the list of message functions.
pub fn kernels_header() -> String {
    let mut out = String::from(
        "// Generated from the Rust side (src/gpu/layout.rs, src/message/mod.rs). Do not edit:\n\
         // UPDATE_GOLDEN=1 cargo test -p gfm-pipe-kernels --lib gpu::layout\n\
         #pragma once\n",
    );
    // Writing to a string cannot fail.
    let _ = functions(&mut out).and_then(|()| layouts().try_for_each(|l| assertions(&mut out, l)));
    out
}

fn functions(out: &mut String) -> std::fmt::Result {
    writeln!(out)?;
    for f in Function::ALL {
        writeln!(out, "#include \"messages/{}.cuh\"", f.name())?;
    }
    writeln!(
        out,
        "\n// Defines a kernel for every message function and element type."
    )?;
    write!(out, "#define FOR_MESSAGES(HOW, name, args, F)")?;
    for f in Function::ALL {
        let (kind, name) = (f.type_name(), f.name());
        write!(
            out,
            " \\\n  FOR_MESSAGES_OF(HOW, name, args, F, {kind}, {name})"
        )?;
    }
    writeln!(out)
}

fn assertions(out: &mut String, layout: &Layout) -> std::fmt::Result {
    let name = layout.name;
    writeln!(
        out,
        "\nstruct {name};\ntemplate <> struct LayoutOf<{name}> {{"
    )?;
    writeln!(
        out,
        "  template <class T> static constexpr bool matches() {{"
    )?;
    let size = layout.size;
    writeln!(out, "    static_assert(sizeof(T) == {size}, \"{name}\");")?;
    for Field {
        name: field,
        offset,
    } in layout.fields
    {
        let check = format!("offsetof(T, {field}) == {offset}");
        writeln!(out, "    static_assert({check}, \"{name}::{field}\");")?;
    }
    writeln!(out, "    return true;\n  }}\n}};")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_header_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/gpu/generated.h");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, kernels_header()).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap();
        assert!(
            found == kernels_header(),
            "gpu/generated.h is stale: UPDATE_GOLDEN=1 cargo test -p gfm-pipe-kernels --lib gpu::layout"
        );
    }

    #[test]
    fn every_struct_has_a_name_of_its_own() {
        let mut names: Vec<&str> = layouts().map(|l| l.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
