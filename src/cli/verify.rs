//! `gfm-pipe verify`.

use super::error::{CliError, CliResult, exit};
use super::shared_args::StoreArgs;
use crate::record::history;
use crate::store::Damage;
use crate::ui::{self, Out};

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look at names and sizes only, not at every byte
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Prints what is damaged; exit code 1 when something is.
pub fn verify(args: &Args, out: &Out) -> CliResult<u8> {
    let store = args.store.open()?;
    if !store.exists() {
        return Err(
            CliError::usage(format!("{} is not a store", store.root().display()))
                .hint("--store DIR names one"),
        );
    }
    let mut found = store.verify(!args.quick, &|_, _| {})?;
    let stored = found.damages.len();
    let faults = if args.quick {
        Vec::new()
    } else {
        history::faults(&store)?
    };
    for (path, why) in faults {
        found.damages.push(Damage {
            path,
            why,
            operators: Vec::new(),
        });
    }
    for d in &found.damages {
        let whose = match d.operators.as_slice() {
            [] => String::new(),
            all => format!(" (made by {})", all.join(", ")),
        };
        out.line(&format!("damaged: {}: {}{whose}", d.path.display(), d.why));
    }
    for (path, operator) in &found.suspects {
        out.line(&format!(
            "suspect: {}: {operator} may have computed it from something damaged",
            path.display()
        ));
    }
    out.line(&format!(
        "{}, {}{}, {}{}{}",
        ui::number(found.stages, "stage"),
        ui::number(found.objects, "object"),
        match found.items {
            0 => String::new(),
            n => format!(", {}", ui::number(n, "item")),
        },
        ui::bytes(found.bytes),
        match found.unnamed {
            0 => String::new(),
            n => format!(", {} that no stage names (gc removes them)", ui::count(n)),
        },
        match found.damages.len() {
            0 => ": all as stored".to_owned(),
            n if stored == 0 => format!(": {n} damaged, of what runs wrote down only"),
            n if n as u64 == found.codes => {
                format!(": {n} damaged, of codes of vectors only, which are made again when needed")
            }
            n => format!(
                ": {n} damaged; `gfm-pipe run` computes the damaged stages of its pipeline again{}",
                match found.suspects.len() {
                    0 => "",
                    _ => ", and the suspect ones",
                }
            ),
        }
    ));
    Ok(if found.damages.is_empty() {
        exit::OK
    } else {
        exit::FAILED
    })
}
