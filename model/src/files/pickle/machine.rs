//! The pickle machine: a stack and a memo over an arena of nodes, converted to a tree at the end.
//!
//! Objects are nodes in an arena because a pickle fills containers after it has memorised them. The
//! conversion counts what it copies, so sharing cannot be used to blow a small file up.

mod calls;

use std::sync::Arc;

use super::value::PickleValue;
use super::{Global, PickleError};

/// Bounds on what a pickle may cost.
#[derive(Debug, Clone, Copy)]
pub struct PickleLimits {
    /// Values, counted when they are made and again when they are copied into the tree.
    pub values: usize,
    /// Nesting of containers.
    pub depth: usize,
}

impl PickleLimits {
    /// The same, for a pickle of this length. Every instruction is a byte or more and makes at most one
    /// value or memo slot, so more of them than bytes come only from copies of what is shared; what
    /// picklers share is small.
    fn of_length(self, bytes: usize) -> Self {
        PickleLimits { values: self.values.min(bytes.saturating_mul(2).saturating_add(1024)), ..self }
    }
}

impl Default for PickleLimits {
    /// Enough for the optimizer state of a model with a hundred thousand tensors.
    fn default() -> Self {
        PickleLimits { values: 8_000_000, depth: 64 }
    }
}

/// Reads one pickle; bytes after its end are ignored.
pub fn parse(bytes: &[u8], limits: PickleLimits) -> Result<PickleValue, PickleError> {
    let limits = limits.of_length(bytes.len());
    let mut machine = Machine {
        bytes,
        at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        copied: 0,
        limits,
    };
    let root = machine.run()?;
    let mut budget = limits.values;
    machine.tree(root, 0, &mut budget)
}

type NodeId = u32;

#[derive(Debug, Clone)]
enum Node {
    Leaf(PickleValue),
    List(Vec<NodeId>),
    Tuple(Vec<NodeId>),
    Dict(Vec<(NodeId, NodeId)>),
    Global(Global),
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<NodeId>,
    marks: Vec<usize>,
    memo: Vec<Option<NodeId>>,
    /// Items copied by calls, which a pickle may repeat on one shared container.
    copied: usize,
    limits: PickleLimits,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<NodeId, PickleError> {
        loop {
            let at = self.at;
            let opcode = self.byte()?;
            match opcode {
                0x80 => drop(self.byte()?),  // PROTO
                0x95 => drop(self.take(8)?), // FRAME
                b'.' => return self.pop(),   // STOP
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?), // POP
                b'N' => self.leaf(PickleValue::None)?,
                0x88 => self.leaf(PickleValue::Bool(true))?,
                0x89 => self.leaf(PickleValue::Bool(false))?,
                b'K' => self.unsigned(1).and_then(|v| self.leaf(PickleValue::Int(v as i64)))?,
                b'M' => self.unsigned(2).and_then(|v| self.leaf(PickleValue::Int(v as i64)))?,
                b'J' => {
                    let v = i32::from_le_bytes(self.array()?);
                    self.leaf(PickleValue::Int(i64::from(v)))?;
                }
                0x8a => self.long()?,
                b'G' => self.array().and_then(|v| self.leaf(PickleValue::Float(f64::from_be_bytes(v))))?,
                b'X' => self.unsigned(4).and_then(|n| self.text(n))?,
                0x8c => self.unsigned(1).and_then(|n| self.text(n))?,
                0x8d => self.unsigned(8).and_then(|n| self.text(n))?,
                b'B' => self.unsigned(4).and_then(|n| self.raw(n))?,
                b'C' => self.unsigned(1).and_then(|n| self.raw(n))?,
                b']' => self.push(Node::List(Vec::new()))?,
                b'}' => self.push(Node::Dict(Vec::new()))?,
                b')' => self.push(Node::Tuple(Vec::new()))?,
                0x85 => self.tuple(1)?,
                0x86 => self.tuple(2)?,
                0x87 => self.tuple(3)?,
                b't' => self.pop_to_mark().and_then(|items| self.push(Node::Tuple(items)))?,
                b'a' => self.pop().and_then(|item| self.append(vec![item]))?,
                b'e' => self.pop_to_mark().and_then(|items| self.append(items))?,
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set_items(vec![key, value])?;
                }
                b'u' => self.pop_to_mark().and_then(|items| self.set_items(items))?,
                b'q' => self.unsigned(1).and_then(|slot| self.memoize(slot))?,
                b'r' => self.unsigned(4).and_then(|slot| self.memoize(slot))?,
                0x94 => self.memoize(self.memo.len())?,
                b'h' => self.unsigned(1).and_then(|slot| self.recall(slot))?,
                b'j' => self.unsigned(4).and_then(|slot| self.recall(slot))?,
                b'c' => {
                    let module = self.line()?;
                    let name = self.line()?;
                    let global = Global::lookup(module, name)?;
                    self.push(Node::Global(global))?;
                }
                0x93 => self.stack_global()?,
                b'R' => self.reduce()?,
                b'b' => self.build()?,
                b'Q' => self.persistent()?,
                opcode => return Err(PickleError::Opcode { opcode, at }),
            }
        }
    }

    fn malformed(&self, what: &'static str) -> PickleError {
        PickleError::Malformed { at: self.at, what }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], PickleError> {
        let end = self.at.checked_add(n).ok_or(PickleError::Truncated(self.at))?;
        let bytes = self.bytes.get(self.at..end).ok_or(PickleError::Truncated(self.at))?;
        self.at = end;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, PickleError> {
        self.array::<1>().map(|[b]| b)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| PickleError::Truncated(self.at))
    }

    /// The next bytes, at most eight, as a number whose lowest come first.
    fn unsigned(&mut self, bytes: usize) -> Result<usize, PickleError> {
        let mut wide = [0; 8];
        wide[..bytes].copy_from_slice(self.take(bytes)?);
        Ok(usize::try_from(u64::from_le_bytes(wide)).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let n = rest.iter().position(|b| *b == b'\n').ok_or(PickleError::Truncated(self.at))?;
        let line = self.take(n + 1)?;
        std::str::from_utf8(&line[..n]).map_err(|_| self.malformed("a name is not UTF-8"))
    }

    fn push(&mut self, node: Node) -> Result<(), PickleError> {
        if self.nodes.len() >= self.limits.values {
            return Err(PickleError::Limit { limit: self.limits.values, what: "values" });
        }
        self.stack.push(self.nodes.len() as NodeId);
        self.nodes.push(node);
        Ok(())
    }

    fn leaf(&mut self, value: PickleValue) -> Result<(), PickleError> {
        self.push(Node::Leaf(value))
    }

    fn text(&mut self, n: usize) -> Result<(), PickleError> {
        let bytes = self.take(n)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.malformed("a string is not UTF-8"))?;
        self.leaf(PickleValue::Str(Arc::from(text)))
    }

    fn raw(&mut self, n: usize) -> Result<(), PickleError> {
        let bytes = self.take(n)?;
        self.leaf(PickleValue::Bytes(Arc::from(bytes)))
    }

    /// LONG1: a little-endian two's complement integer of any length, of which up to eight bytes are
    /// accepted.
    fn long(&mut self) -> Result<(), PickleError> {
        let n = usize::from(self.byte()?);
        let bytes = self.take(n)?;
        let mut wide = match bytes.last() {
            Some(last) if *last & 0x80 != 0 => [0xff; 8],
            _ => [0; 8],
        };
        let target = wide.get_mut(..n).ok_or_else(|| self.malformed("an integer of more than 64 bits"))?;
        target.copy_from_slice(bytes);
        self.leaf(PickleValue::Int(i64::from_le_bytes(wide)))
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<NodeId, PickleError> {
        if self.stack.len() <= self.floor() {
            return Err(self.malformed("the stack is empty"));
        }
        self.stack.pop().ok_or_else(|| self.malformed("the stack is empty"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<NodeId>, PickleError> {
        let mark = self.marks.pop().ok_or_else(|| self.malformed("no mark"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn top(&mut self) -> Result<&mut Node, PickleError> {
        let error = self.malformed("the stack is empty");
        let floor = self.floor();
        let id = self.stack.get(floor..).and_then(|s| s.last()).copied().ok_or(error.clone())?;
        self.nodes.get_mut(id as usize).ok_or(error)
    }

    fn node(&self, id: NodeId) -> Result<&Node, PickleError> {
        self.nodes.get(id as usize).ok_or_else(|| self.malformed("unknown object"))
    }

    fn tuple(&mut self, n: usize) -> Result<(), PickleError> {
        if self.stack.len() < self.floor() + n {
            return Err(self.malformed("the stack is empty"));
        }
        let items = self.stack.split_off(self.stack.len() - n);
        self.push(Node::Tuple(items))
    }

    fn append(&mut self, items: Vec<NodeId>) -> Result<(), PickleError> {
        let error = self.malformed("append to something that is not a list");
        match self.top()? {
            Node::List(list) => list.extend(items),
            _ => return Err(error),
        }
        Ok(())
    }

    fn set_items(&mut self, items: Vec<NodeId>) -> Result<(), PickleError> {
        let error = self.malformed("a key without a value, or not a dict");
        let (pairs, rest) = items.as_chunks::<2>();
        match self.top()? {
            Node::Dict(entries) if rest.is_empty() => entries.extend(pairs.iter().map(|[k, v]| (*k, *v))),
            _ => return Err(error),
        }
        Ok(())
    }

    fn memoize(&mut self, slot: usize) -> Result<(), PickleError> {
        if slot >= self.limits.values {
            return Err(PickleError::Limit { limit: self.limits.values, what: "memo slots" });
        }
        // Slots are numbered densely by every pickler, and each costs an instruction: one beyond the bytes
        // read so far is no reason to reserve memory up to it.
        if slot > self.at {
            return Err(self.malformed("a memo slot far beyond the others"));
        }
        let id = *self.stack.last().ok_or_else(|| self.malformed("the stack is empty"))?;
        if slot >= self.memo.len() {
            self.memo.resize(slot + 1, None);
        }
        if let Some(entry) = self.memo.get_mut(slot) {
            *entry = Some(id);
        }
        Ok(())
    }

    fn recall(&mut self, slot: usize) -> Result<(), PickleError> {
        let id =
            self.memo.get(slot).copied().flatten().ok_or_else(|| self.malformed("an empty memo slot"))?;
        if self.stack.len() >= self.limits.values {
            return Err(PickleError::Limit { limit: self.limits.values, what: "values" });
        }
        self.stack.push(id);
        Ok(())
    }

    fn tree(&self, id: NodeId, depth: usize, budget: &mut usize) -> Result<PickleValue, PickleError> {
        if depth > self.limits.depth {
            return Err(PickleError::Limit { limit: self.limits.depth, what: "nested containers" });
        }
        *budget =
            budget.checked_sub(1).ok_or(PickleError::Limit { limit: self.limits.values, what: "values" })?;
        let mut all = |ids: &[NodeId]| -> Result<Vec<PickleValue>, PickleError> {
            ids.iter().map(|id| self.tree(*id, depth + 1, budget)).collect()
        };
        Ok(match self.node(id)? {
            Node::Leaf(value) => value.clone(),
            Node::List(items) => PickleValue::List(all(items)?),
            Node::Tuple(items) => PickleValue::Tuple(all(items)?),
            Node::Dict(entries) => PickleValue::Dict(
                entries
                    .iter()
                    .map(|(k, v)| Ok((self.tree(*k, depth + 1, budget)?, self.tree(*v, depth + 1, budget)?)))
                    .collect::<Result<_, _>>()?,
            ),
            Node::Global(_) => return Err(self.malformed("a name where a value belongs")),
        })
    }
}
