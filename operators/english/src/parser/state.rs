//! The parser's state: a stack, a buffer, and the arcs made so far.

/// A move of the parser, without the label of an arc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// Puts the first token of the buffer on the stack.
    Shift,
    /// Removes a token from the stack.
    Reduce,
    /// Makes the first token of the buffer the head of the top of the stack.
    Left,
    /// Makes the top of the stack the head of the first token of the buffer.
    Right,
    /// Begins a sentence at the second token of the buffer.
    Break,
}

impl Move {
    pub(super) const ALL: [Move; 5] = [
        Move::Shift,
        Move::Reduce,
        Move::Left,
        Move::Right,
        Move::Break,
    ];
}

/// The value for no token.
const NONE: u32 = u32::MAX;

/// The state of one token.
#[derive(Debug, Clone, Copy)]
struct Node {
    head: u32,
    /// The class of the move that attached it.
    class: u16,
    /// The last child that was attached, on the left.
    last_left: u32,
    last_right: u32,
    /// The previous child of the same head on the same side.
    before: u32,
    /// Whether it was put back into the buffer, so that it must not be shifted again.
    once: bool,
    /// Whether a sentence starts here, so that no arc may cross.
    wall: bool,
}

const NEW: Node = Node {
    head: NONE,
    class: 0,
    last_left: NONE,
    last_right: NONE,
    before: NONE,
    once: false,
    wall: false,
};

/// The parser's state. Its memory is reused for the next text.
#[derive(Default)]
pub(crate) struct State {
    nodes: Vec<Node>,
    stack: Vec<u32>,
    /// Tokens put back into the buffer, in front of those from `next` on.
    back: Vec<u32>,
    next: u32,
}

fn token(id: u32) -> Option<usize> {
    (id != NONE).then_some(id as usize)
}

impl State {
    /// Begins a text of `tokens` tokens.
    pub(super) fn begin(&mut self, tokens: usize) {
        self.nodes.clear();
        self.nodes.resize(tokens, NEW);
        if let Some(first) = self.nodes.first_mut() {
            first.wall = true;
        }
        self.stack.clear();
        self.back.clear();
        self.next = 0;
    }

    fn stacked(&self, depth: usize) -> u32 {
        let at = self.stack.len().checked_sub(depth + 1);
        at.map_or(NONE, |at| self.stack[at])
    }

    fn buffered(&self, depth: usize) -> u32 {
        match self.back.len().checked_sub(depth + 1) {
            Some(at) => self.back[at],
            None => {
                let id = self.next as usize + depth - self.back.len();
                if id < self.nodes.len() {
                    id as u32
                } else {
                    NONE
                }
            }
        }
    }

    fn in_buffer(&self) -> usize {
        self.back.len() + self.nodes.len() - self.next as usize
    }

    pub(super) fn is_done(&self) -> bool {
        self.stack.is_empty() && self.in_buffer() == 0
    }

    /// The tokens from which the next move is chosen.
    pub(super) fn slots(&self) -> [Option<usize>; super::SLOTS] {
        let node = |id: u32| {
            if id == NONE {
                NEW
            } else {
                self.nodes[id as usize]
            }
        };
        let (buffer, stack) = (self.buffered(0), self.stacked(0));
        [
            buffer,
            self.buffered(1),
            stack,
            self.stacked(1),
            self.stacked(2),
            node(buffer).last_left,
            node(stack).last_left,
            node(stack).last_right,
        ]
        .map(token)
    }

    /// Which moves may be made, in the order of [`Move::ALL`]. There is always one.
    pub(super) fn valid(&self) -> [bool; 5] {
        let (depth, left) = (self.stack.len(), self.in_buffer());
        let (first, second) = (self.buffered(0), self.buffered(1));
        let (wall, once) = token(first).map_or((false, false), |id| {
            (self.nodes[id].wall, self.nodes[id].once)
        });
        let arc = depth > 0 && left > 0 && !wall;
        [
            left > 0 && (depth == 0 || (left >= 2 && !wall && !once)),
            depth > 0,
            arc,
            arc,
            left >= 2 && second == first + 1 && !self.nodes[second as usize].wall,
        ]
    }

    /// Makes a move, which must be valid.
    pub(super) fn apply(&mut self, made: Move, class: u16) {
        let (buffer, stack) = (self.buffered(0), self.stacked(0));
        match made {
            Move::Shift => self.advance(),
            Move::Reduce => {
                self.stack.pop();
                let node = &mut self.nodes[stack as usize];
                // It goes back to the buffer, where it may still get a head.
                if node.head == NONE && !self.stack.is_empty() {
                    node.once = true;
                    self.back.push(stack);
                }
            }
            Move::Left => {
                self.attach(stack, buffer, class);
                self.nodes[buffer as usize].once = false;
                self.stack.pop();
            }
            Move::Right => {
                self.attach(buffer, stack, class);
                self.advance();
            }
            Move::Break => {
                let second = self.buffered(1);
                self.nodes[second as usize].wall = true;
            }
        }
    }

    fn advance(&mut self) {
        let id = self.back.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.stack.push(id);
    }

    fn attach(&mut self, child: u32, head: u32, class: u16) {
        let old = self.nodes[child as usize].head;
        if old != NONE {
            // Only the last child of its head can be attached again.
            let before = self.nodes[child as usize].before;
            let old = &mut self.nodes[old as usize];
            if old.last_right == child {
                old.last_right = before;
            } else if old.last_left == child {
                old.last_left = before;
            }
        }
        let of_head = &mut self.nodes[head as usize];
        let last = if head > child {
            &mut of_head.last_left
        } else {
            &mut of_head.last_right
        };
        let before = std::mem::replace(last, child);
        let node = &mut self.nodes[child as usize];
        (node.head, node.class, node.before) = (head, class, before);
    }

    /// The head of a token and the class of the move that attached it.
    pub(super) fn arc(&self, token_id: usize) -> Option<(usize, u16)> {
        let node = &self.nodes[token_id];
        token(node.head).map(|head| (head, node.class))
    }
}
