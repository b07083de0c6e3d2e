//! What a piece of work asks with.

use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use gfm_pipe_api::items::{Id, Ids};
use gfm_pipe_api::{Cancel, OpError, OpResult};
use serde_json::Value;

use crate::chat::Chat;
use crate::json;
use crate::keeper::{Known, Store};
use crate::prompt::{Message, Role};
use crate::wire::{self, Reply, Shape};

/// An answer in JSON, or why there is none.
pub type Parsed<T> = Result<T, NoAnswer>;

/// An answer that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoAnswer {
    /// Why.
    pub reason: String,
    /// What the model wrote.
    pub content: String,
}

/// An answer in JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered<T> {
    /// What was read.
    pub value: T,
    /// Whether the answer was cut, so that its end is missing.
    pub cut: bool,
}

/// Most characters of an answer that is sent back to be mended.
const LONGEST_REPEATED: usize = 4000;
/// Most characters of what people call a request.
const LONGEST_NAME: usize = 80;

/// A name as messages show it.
fn shown(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.to_owned(),
    }
}

/// A request that this piece of work has taken on.
struct Claim<'s> {
    store: &'s Store,
    /// `None` once it is settled.
    id: Option<Id>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.store.give_up(id);
        }
    }
}

/// The id of a request.
fn id_of(ids: Ids, messages: &[Message], shape: Option<&Shape>) -> OpResult<Id> {
    let text = serde_json::to_string(messages).map_err(|e| OpError::internal(e.to_string()))?;
    let shape = shape.map(|s| s.schema.to_string()).unwrap_or_default();
    Ok(ids.id(&[&text, &shape]))
}

/// What a piece of work asks with.
pub struct Asker<'c> {
    pub(crate) chat: &'c Chat<'c>,
    pub(crate) store: Store,
    pub(crate) ids: Ids,
    pub(crate) used: RefCell<Vec<(String, Id)>>,
}

impl Asker<'_> {
    /// The stage wants to stop.
    pub fn cancel(&self) -> &Cancel {
        &self.chat.ctx.cancel
    }

    /// Asks for a text. `name` is what people call the request. `None` where the answer is not
    /// stored and no model may be asked: it is then reported at the end.
    ///
    /// # Errors
    /// When there will be no answer, or it cannot be kept.
    pub fn reply(&self, name: &str, messages: &[Message]) -> OpResult<Option<Reply>> {
        self.obtain(name, messages, None)
    }

    /// Where requests are only counted: one more with about these messages, which cannot be asked
    /// yet because it depends on an answer that is missing.
    pub fn expect(&self, messages: &[Message]) {
        if let Some(requests) = &self.chat.ctx.requests {
            requests.left(wire::rough_tokens_of(messages));
        }
    }

    fn obtain(
        &self,
        name: &str,
        messages: &[Message],
        shape: Option<&Shape>,
    ) -> OpResult<Option<Reply>> {
        let id = id_of(self.ids, messages, shape)?;
        let name = &shown(name);
        let known = self.store.get(id)?;
        // Whatever happens below, others that wait for this answer must not wait for ever.
        let mut claim = Claim {
            store: &self.store,
            id: Some(id),
        };
        if let Known::Kept(bytes) = known
            && let Ok(reply) = serde_json::from_slice::<Reply>(&bytes)
        {
            claim.id = None;
            self.chat.stored.fetch_add(1, Ordering::Relaxed);
            if let Some(requests) = &self.chat.ctx.requests {
                requests.stored();
            }
            self.used.borrow_mut().push((name.to_owned(), id));
            wire::check_whole(name, messages, &reply)?;
            return Ok(Some(reply));
        }
        let Some(reply) = self.ask(id, name, messages, shape)? else {
            return Ok(None);
        };
        // There is nothing to keep, and another time there may be.
        if reply.is_empty() {
            return Ok(Some(reply));
        }
        claim.id = None;
        let bytes = serde_json::to_vec(&reply).map_err(|e| OpError::internal(e.to_string()))?;
        self.store.keep(id, bytes)?;
        self.chat.kept.fetch_add(1, Ordering::Relaxed);
        self.used.borrow_mut().push((name.to_owned(), id));
        Ok(Some(reply))
    }

    fn ask(
        &self,
        id: Id,
        name: &str,
        messages: &[Message],
        shape: Option<&Shape>,
    ) -> OpResult<Option<Reply>> {
        let Some(server) = &self.chat.server else {
            let missing = &self.chat.missing;
            let mut missing = missing.lock().unwrap_or_else(PoisonError::into_inner);
            match missing.entry(id) {
                Entry::Vacant(place) => {
                    place.insert(name.to_owned());
                    self.expect(messages);
                }
                // Whichever thread came first, the message is the same.
                Entry::Occupied(mut named) if named.get().as_str() > name => {
                    named.insert(name.to_owned());
                }
                Entry::Occupied(_) => {}
            }
            return Ok(None);
        };
        let reply = self.chat.send(server, name, messages, shape)?;
        // An answer about a part of the prompt is not kept: with a longer context, the model is to
        // be asked again.
        wire::check_whole(name, messages, &reply)?;
        Ok(Some(reply))
    }

    /// Asks for JSON of a shape. `read` says what is wrong with a value; the model then gets its
    /// answer back with the reason, as often as the parameters say. The outer `None` is as for
    /// [`Asker::reply`].
    ///
    /// # Errors
    /// When there will be no answer, or it cannot be kept. An answer that cannot be used is not an
    /// error but a [`NoAnswer`].
    pub fn json<T>(
        &self,
        name: &str,
        mut messages: Vec<Message>,
        shape: &Shape,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> OpResult<Option<Parsed<Answered<T>>>> {
        for turn in 0..=self.chat.params.repairs {
            let Some(reply) = self.obtain(name, &messages, Some(shape))? else {
                return Ok(None);
            };
            let reason = match understood(&reply, &read) {
                Ok(answered) => return Ok(Some(Ok(answered))),
                Err(reason) => reason,
            };
            // A model that refuses, or writes without end, does so again.
            if turn == self.chat.params.repairs || reply.refused().is_some() || reply.is_cut() {
                let content = reply.content;
                return Ok(Some(Err(NoAnswer { reason, content })));
            }
            // Where nothing was said, the same is asked once more.
            if reply.is_empty() {
                continue;
            }
            messages.push(Message {
                role: Role::Assistant,
                content: reply.text().chars().take(LONGEST_REPEATED).collect(),
            });
            messages.push(Message {
                role: Role::User,
                content: format!(
                    "That cannot be used: {reason}. Answer again with the JSON object alone, in \
                     this form: {}",
                    shape.schema
                ),
            });
        }
        Err(OpError::internal("no answer was asked for"))
    }
}

/// Reads an answer.
fn understood<T>(
    reply: &Reply,
    read: &impl Fn(&Value) -> Result<T, String>,
) -> Result<Answered<T>, String> {
    if let Some(refused) = reply.refused() {
        return Err(refused);
    }
    let text = reply.text();
    if text.is_empty() {
        return Err("the answer is empty".to_owned());
    }
    let Some(found) = json::object(text) else {
        return Err("the answer is no JSON object".to_owned());
    };
    let value = read(&found.value)?;
    let cut = found.cut || reply.is_cut();
    Ok(Answered { value, cut })
}
