//! Allow-list of names that a pickle may refer to, and the plain data that calling them makes.

use super::super::value::{PickleValue, StorageRef, TensorRef};
use super::super::{Global, PickleError};
use super::{Machine, Node, NodeId};

impl Machine<'_> {
    pub(super) fn stack_global(&mut self) -> Result<(), PickleError> {
        let name = self.pop()?;
        let module = self.pop()?;
        let global = match (self.node(module)?, self.node(name)?) {
            (Node::Leaf(PickleValue::Str(module)), Node::Leaf(PickleValue::Str(name))) => {
                Global::lookup(module, name)?
            }
            _ => return Err(self.malformed("a name is not a string")),
        };
        self.push(Node::Global(global))
    }

    pub(super) fn reduce(&mut self) -> Result<(), PickleError> {
        let arguments = self.pop()?;
        let callable = self.pop()?;
        let Node::Tuple(arguments) = self.node(arguments)? else {
            return Err(self.malformed("arguments are not a tuple"));
        };
        let arguments: Vec<NodeId> = arguments.iter().take(8).copied().collect();
        let global = match self.node(callable)? {
            Node::Global(global) => *global,
            _ => return Err(self.malformed("a call of something that is not a name")),
        };
        let node = match global {
            Global::OrderedDict => self.ordered_dict(&arguments)?,
            Global::RebuildTensor => Node::Leaf(PickleValue::Tensor(self.tensor(&arguments)?)),
            Global::RebuildParameter => match arguments.first().map(|id| self.node(*id)).transpose()? {
                Some(tensor @ Node::Leaf(PickleValue::Tensor(_))) => tensor.clone(),
                _ => return Err(self.malformed("a parameter without a tensor")),
            },
            Global::Storage(_) => return Err(self.malformed("a storage is called")),
        };
        self.push(node)
    }

    /// `OrderedDict()` or, as protocol 2 with items writes it, `OrderedDict([[key, value], ...])`.
    fn ordered_dict(&mut self, arguments: &[NodeId]) -> Result<Node, PickleError> {
        let Some(first) = arguments.first() else { return Ok(Node::Dict(Vec::new())) };
        let Node::List(items) = self.node(*first)? else {
            return Err(self.malformed("OrderedDict of something that is not a list"));
        };
        let copied = self.copied + items.len();
        if copied > self.limits.values {
            return Err(PickleError::Limit { limit: self.limits.values, what: "values" });
        }
        let pairs = items.iter().map(|id| match self.node(*id)? {
            Node::List(pair) | Node::Tuple(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
            _ => Err(self.malformed("OrderedDict of something that is not pairs")),
        });
        let entries = pairs.collect::<Result<_, _>>()?;
        self.copied = copied;
        Ok(Node::Dict(entries))
    }

    /// `(storage, offset, size, stride, requires_grad, hooks, ...)`
    fn tensor(&self, arguments: &[NodeId]) -> Result<TensorRef, PickleError> {
        let bad = || self.malformed("the arguments of a tensor");
        let [storage, offset, shape, stride, ..] = arguments else { return Err(bad()) };
        let Node::Leaf(PickleValue::Storage(storage)) = self.node(*storage)? else { return Err(bad()) };
        let shape = self.sizes(*shape)?;
        let stride = self.sizes(*stride)?;
        if shape.len() != stride.len() || shape.len() > 16 {
            return Err(bad());
        }
        Ok(TensorRef { storage: storage.clone(), offset: self.size(*offset)?, shape, stride })
    }

    fn sizes(&self, id: NodeId) -> Result<Vec<usize>, PickleError> {
        match self.node(id)? {
            Node::Tuple(items) | Node::List(items) => items.iter().map(|id| self.size(*id)).collect(),
            _ => Err(self.malformed("a shape is not a tuple")),
        }
    }

    fn size(&self, id: NodeId) -> Result<usize, PickleError> {
        match self.node(id)? {
            Node::Leaf(PickleValue::Int(v)) => {
                usize::try_from(*v).map_err(|_| self.malformed("a negative size"))
            }
            _ => Err(self.malformed("a size is not an integer")),
        }
    }

    /// BUILD sets attributes; those of an `OrderedDict` (`_metadata` of a state dict) carry no
    /// values and are dropped.
    pub(super) fn build(&mut self) -> Result<(), PickleError> {
        self.pop()?;
        let error = self.malformed("attributes set on something that is not an OrderedDict");
        match self.top()? {
            Node::Dict(_) => Ok(()),
            _ => Err(error),
        }
    }

    /// `("storage", class, key, location, number of elements)`
    pub(super) fn persistent(&mut self) -> Result<(), PickleError> {
        let id = self.pop()?;
        let bad = || self.malformed("a persistent id that is not a storage");
        let Node::Tuple(items) = self.node(id)? else { return Err(bad()) };
        let [tag, class, key, _location, len] = items.as_slice() else { return Err(bad()) };
        let storage = match (self.node(*tag)?, self.node(*class)?, self.node(*key)?) {
            (
                Node::Leaf(PickleValue::Str(tag)),
                Node::Global(Global::Storage(scalar)),
                Node::Leaf(PickleValue::Str(key)),
            ) if &**tag == "storage" => {
                StorageRef { key: key.clone(), scalar: *scalar, len: self.size(*len)? }
            }
            _ => return Err(bad()),
        };
        self.leaf(PickleValue::Storage(storage))
    }
}
