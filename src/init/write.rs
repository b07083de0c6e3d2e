//! The text of a first pipeline.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use super::settings::{BATCH, PRETRAIN_STEPS, Settings, Validation};
use super::{DataSet, Layout};

/// A text as a YAML scalar. JSON strings are valid YAML.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A path as a value in a pipeline, written so that braces in it are not read as a template.
pub(super) fn path(path: &std::path::Path) -> String {
    let text = path.to_string_lossy();
    if ["{{", "{%", "{#"].iter().any(|open| text.contains(open)) {
        return quoted(&format!("{{{{ {} }}}}", quoted(&text)));
    }
    quoted(&text)
}

/// The text of a pipeline that does with these data sets, all of one layout, what their files
/// allow. It names these files as they were found.
pub fn pipeline(name: &str, sets: &[DataSet]) -> String {
    // Rendering does not fail: a test renders this built-in template for every form of data.
    render(name, sets).unwrap_or_else(|e| format!("# {e:#}\n"))
}

/// A data set as the template sees it.
fn data_set(s: &DataSet) -> Value {
    context! {
        name => s.name.clone(),
        root => path(&s.root),
        kg => path(&s.kg),
        asked => s.asked(),
        tested => s.tested(),
        questioned => s.questioned(),
    }
}

fn render(name: &str, sets: &[DataSet]) -> Result<String, minijinja::Error> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder()
        .block_delimiters("<%", "%>")
        .variable_delimiters("<<", ">>")
        .comment_delimiters("<#", "#>")
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()?;
    env.set_syntax(syntax);
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    // JSON strings and lists of strings are valid YAML.
    env.add_filter("quoted", |value: Value| match value.as_str() {
        Some(text) => quoted(text),
        None => {
            let items = value.try_iter().into_iter().flatten();
            let items = items.map(|item| quoted(&item.to_string()));
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
    });
    env.add_filter("padded", |value: Value, width: usize| {
        format!("{:<width$}", value.to_string())
    });
    let template = match sets.first().map(|set| set.layout) {
        Some(Layout::Two) => concat!(
            include_str!("macros.jinja"),
            include_str!("reasoner.yaml.jinja")
        ),
        _ => concat!(
            include_str!("macros.jinja"),
            include_str!("pipeline.yaml.jinja")
        ),
    };
    env.add_template("pipeline", template)?;

    let settings = Settings::of(sets);
    let trains = sets.iter().any(DataSet::asked);
    let evaluates = sets.iter().any(DataSet::tested);
    let questioned = sets.iter().filter(|s| s.questioned()).count();
    env.get_template("pipeline")?.render(context! {
        summary => summary(trains, evaluates),
        name,
        sets => sets.iter().map(data_set).collect::<Vec<_>>(),
        many => sets.len() > 1,
        trains,
        evaluates,
        questioned => questioned > 0,
        bare => questioned < sets.len(),
        lr => settings.lr.to_string(),
        usual_batch => BATCH,
        most_pretrain_steps => PRETRAIN_STEPS,
        pretrain_batch => settings.pretrain_batch,
        pretrain_epochs => settings.pretrain_epochs,
        pretrain_total => steps(settings.pretrain_epochs * settings.pretrain_steps),
        finetune_batch => settings.finetune_batch,
        finetune_epochs => settings.finetune_epochs,
        finetune_total => steps(settings.finetune_epochs * settings.finetune_steps),
        validation => match settings.validation {
            Validation::Given => "given".to_owned(),
            Validation::HeldOut(fraction) => fraction.to_string(),
            Validation::None => "none".to_owned(),
        },
    })
}

/// A number of steps in words. It is approximate, because some triples and questions are held out.
fn steps(n: u64) -> String {
    match n {
        1 => "1 step".to_owned(),
        n => format!("about {n} steps"),
    }
}

fn summary(train: bool, evaluate: bool) -> &'static str {
    match (train, evaluate) {
        (true, true) => {
            "Pre-trains on the graphs, fine-tunes on the training questions, evaluates on the test questions."
        }
        (true, false) => {
            "Pre-trains on the graphs, fine-tunes on the training questions. (No test questions: nothing is evaluated.)"
        }
        (false, true) => {
            "Pre-trains on the graphs; evaluates systems that need no training on the test questions. (No training questions: nothing to fine-tune on.)"
        }
        (false, false) => {
            "Pre-trains on the graphs. (No documents with training questions: nothing to fine-tune on.)"
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::PathBuf;

    /// For data sets of every form, alone and together, the template renders to valid YAML.
    #[test]
    fn the_template_fits_every_form_of_data() {
        let forms = [
            (false, None, None, None),
            (true, None, None, None),
            (true, Some(5), None, None),
            (true, Some(60), None, Some(7)),
            (true, Some(900), Some(3), Some(3)),
            (true, None, Some(1), Some(3)),
        ];
        let set = |i: usize, layout: Layout| {
            let (documents, train, valid, test) = forms[i];
            DataSet {
                layout,
                both: false,
                name: format!("set{i}"),
                root: PathBuf::from(format!("a {{{{ {i}")),
                kg: PathBuf::from(format!("kg: \"{i}\"")),
                documents,
                train,
                valid,
                test,
            }
        };
        for layout in [Layout::One, Layout::Two] {
            for i in 0..forms.len() {
                let pairs = (0..forms.len())
                    .filter(|j| *j != i)
                    .map(|j| vec![set(i, layout), set(j, layout)]);
                for sets in pairs.chain([vec![set(i, layout)]]) {
                    let text = render("a: name", &sets).unwrap();
                    let yaml: serde_json::Value = serde_yaml::from_str(&text).unwrap();
                    assert_eq!(yaml["name"], "a: name");
                    let finetune = sets.iter().any(DataSet::asked);
                    assert_eq!(yaml["stages"].get("finetune").is_some(), finetune, "{text}");
                    let evaluate = sets.iter().any(DataSet::tested);
                    assert_eq!(yaml["stages"].get("evaluate").is_some(), evaluate, "{text}");
                    let typed = yaml["stages"].get("data").is_some();
                    assert_eq!(typed, layout == Layout::Two, "{text}");
                }
            }
        }
    }
}
