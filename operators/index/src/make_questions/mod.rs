//! `make-questions`: questions for training a retriever, from documents alone. Rules make them; a
//! language model can put them into natural words.
//!
//! A statement (`statement`) is a clause of a document with two places, one of which is the title:
//! "The Kelda was directed by Ada Brandt". Either place can be asked for or described: "the film
//! that was directed by Ada Brandt". Questions over several documents put the description of one
//! statement where the next one has its known place (`walk`), ask for what two statements have in
//! common (`intersect`), or compare what two documents say of things of one kind (`compare`). So
//! the gold documents of a question are those of its statements.
//!
//! `said` goes from a text to its statements: `plain` leaves brackets out, `tree` is the parse,
//! `about` finds what stands for the title and what it is (with `persons`), `mention` the names and
//! dates, and `clause` the clauses. `forms` puts questions and descriptions together from the
//! `places` of a clause, with `verbs`. `corpus` does this for all documents and indexes the result,
//! and `nouns` says what a name is of. `make` draws candidates (`draw`), checks them (`candidate`,
//! `likeness`), and adds `negatives`. `reword` asks a language model for other words, which have to
//! hold to what was asked (`wording`). `read` and `run` are the operator's inputs and outputs.
//!
//! Invariant: the questions depend on the documents, the parameters and the questions to be left
//! out, not on the number of threads.

#[cfg(feature = "english")]
mod about;
#[cfg(feature = "english")]
mod candidate;
#[cfg(feature = "english")]
mod clause;
#[cfg(feature = "english")]
mod compare;
#[cfg(feature = "english")]
mod corpus;
#[cfg(feature = "english")]
mod draw;
#[cfg(feature = "english")]
mod forms;
#[cfg(feature = "english")]
mod intersect;
#[cfg(feature = "english")]
mod likeness;
#[cfg(feature = "english")]
mod make;
#[cfg(feature = "english")]
mod mention;
#[cfg(feature = "english")]
mod names;
#[cfg(feature = "english")]
mod negatives;
#[cfg(feature = "english")]
mod nouns;
mod operator;
mod params;
#[cfg(feature = "english")]
mod persons;
#[cfg(feature = "english")]
mod places;
#[cfg(feature = "english")]
mod plain;
#[cfg(feature = "english")]
mod read;
#[cfg(feature = "english")]
mod reword;
#[cfg(feature = "english")]
mod run;
#[cfg(feature = "english")]
mod said;
#[cfg(feature = "english")]
mod statement;
#[cfg(feature = "english")]
mod tree;
#[cfg(feature = "english")]
mod verbs;
#[cfg(feature = "english")]
mod walk;
#[cfg(feature = "english")]
mod wording;

pub use operator::MakeQuestions;
pub use params::MakeParams;
