//! Types of parameters.

use super::Schema;

/// Type of a parameter.
#[derive(Debug, Clone)]
pub enum Type {
    /// true/false; yes/no and on/off are read too.
    Bool,
    /// A whole number within bounds.
    Int {
        /// Smallest allowed value.
        min: i64,
        /// Largest allowed value.
        max: i64,
    },
    /// A number within bounds.
    Float {
        /// Smallest allowed value.
        min: f64,
        /// Largest allowed value.
        max: f64,
    },
    /// Text.
    Text,
    /// A word of a command line: text, or a whole number.
    Word,
    /// A path, relative to the working directory of the run.
    Path,
    /// One of a few words.
    OneOf {
        /// Words that work, in order of documentation.
        words: &'static [&'static str],
        /// Words that have a meaning but are not implemented yet; the error message says so.
        planned: &'static [&'static str],
    },
    /// One of a few words, or a mapping.
    WordsOr {
        /// Words that work.
        words: &'static [&'static str],
        /// What the mapping holds.
        schema: Schema,
    },
    /// Text of a form that a function checks.
    Form {
        /// The form, for documentation and messages.
        form: &'static str,
        /// Returns what is wrong.
        check: fn(&str) -> Result<(), String>,
    },
    /// A list.
    List {
        /// Type of an item.
        item: Box<Type>,
        /// Smallest number of items.
        min: usize,
    },
    /// A mapping.
    Object(Schema),
    /// A mapping whose keys the user chooses.
    Map {
        /// Form of a key, for documentation and messages.
        key: &'static str,
        /// Whether a text is a valid key.
        check: fn(&str) -> bool,
        /// Type of a value.
        value: Box<Type>,
    },
    /// This type or null.
    Nullable(Box<Type>),
}

impl Type {
    /// A whole number of at least `min`.
    pub fn int(min: i64) -> Type {
        Type::Int { min, max: i64::MAX }
    }

    /// A number of at least `min`.
    pub fn float(min: f64) -> Type {
        Type::Float {
            min,
            max: f64::INFINITY,
        }
    }

    /// One of a few words.
    pub fn one_of(words: &'static [&'static str]) -> Type {
        Type::OneOf {
            words,
            planned: &[],
        }
    }

    /// A list of at least one item.
    pub fn list(item: Type) -> Type {
        Type::List {
            item: Box::new(item),
            min: 1,
        }
    }

    /// This type or null.
    #[must_use]
    pub fn or_null(self) -> Type {
        Type::Nullable(Box::new(self))
    }

    /// Sets the largest allowed number.
    pub(super) fn bound(&mut self, most: f64) {
        match self {
            Type::Int { max, .. } => *max = most as i64,
            Type::Float { max, .. } => *max = most,
            Type::Nullable(inner) | Type::List { item: inner, .. } => inner.bound(most),
            _ => {}
        }
    }

    /// Whether it is a number without an upper bound, or a list of such numbers.
    pub fn unbounded(&self) -> bool {
        match self {
            Type::Int { max, .. } => *max == i64::MAX,
            Type::Float { max, .. } => !max.is_finite(),
            Type::Nullable(inner) | Type::List { item: inner, .. } => inner.unbounded(),
            _ => false,
        }
    }

    /// Describes the type for messages and documentation.
    pub fn describe(&self) -> String {
        match self {
            Type::Bool => "yes or no".to_owned(),
            Type::Int { min, max } => match (*min, *max) {
                (i64::MIN, i64::MAX) => "a whole number".to_owned(),
                (min, i64::MAX) => format!("a whole number, at least {min}"),
                (min, max) => format!("a whole number from {min} to {max}"),
            },
            Type::Float { min, max } => match (min.is_finite(), max.is_finite()) {
                (false, false) => "a number".to_owned(),
                (true, false) => format!("a number, at least {min}"),
                (false, true) => format!("a number, at most {max}"),
                (true, true) => format!("a number from {min} to {max}"),
            },
            Type::Text => "text".to_owned(),
            Type::Word => "text or a whole number".to_owned(),
            Type::Path => "a path".to_owned(),
            Type::OneOf { words, .. } => words.join(" | "),
            Type::WordsOr { words, schema } => {
                format!("{} | {{{}}}", words.join(" | "), schema.names().join(", "))
            }
            Type::Form { form, .. } => (*form).to_owned(),
            Type::List { item, .. } => format!("a list of: {}", item.describe()),
            Type::Object(_) => "a mapping".to_owned(),
            Type::Map { key, value, .. } => format!("a mapping of {key} to {}", value.describe()),
            Type::Nullable(inner) => format!("{} or null", inner.describe()),
        }
    }
}
