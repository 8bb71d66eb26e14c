//! An ONNX graph that can be looked up by name and changed: one expression is put in another's place, and what nobody
//! needs any more goes. A value that something else still takes is kept with all that makes it, so a replacement never
//! changes what the rest of the graph sees.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};
use tract_onnx::tract_hir::internal::*;

/// See the module's docs.
pub(super) struct Net {
    nodes: Vec<Option<NodeProto>>,
    constants: HashMap<String, TensorProto>,
    /// Which node makes a value.
    makers: HashMap<String, usize>,
    /// Which nodes take a value, once for each time they do.
    users: HashMap<String, Vec<usize>>,
    /// Outputs of the graph, and what the bodies of loops and branches take from it.
    held: HashSet<String>,
    added: usize,
}

impl Net {
    /// Takes nodes and constants out of `graph`. Fails where a value is made twice or waits for itself.
    pub(super) fn take(graph: &mut GraphProto) -> TractResult<Net> {
        let nodes: Vec<_> = std::mem::take(&mut graph.node).into_iter().map(Some).collect();
        let mut net = Net {
            nodes,
            constants: HashMap::new(),
            makers: HashMap::new(),
            users: HashMap::new(),
            held: graph.output.iter().map(|o| o.name.clone()).collect(),
            added: 0,
        };
        for tensor in std::mem::take(&mut graph.initializer) {
            let name = tensor.name.clone();
            ensure!(net.constants.insert(name.clone(), tensor).is_none(), "it has two constants {name}");
        }
        for ix in 0..net.nodes.len() {
            net.enter(ix)?;
        }
        net.check_order(graph)?;
        Ok(net)
    }

    /// Puts nodes and constants back.
    pub(super) fn give_back(self, graph: &mut GraphProto) {
        let mut constants: Vec<_> = self.constants.into_values().collect();
        constants.sort_by(|a, b| a.name.cmp(&b.name));
        graph.initializer = constants;
        graph.node = self.nodes.into_iter().flatten().collect();
    }

    /// Numbers of the nodes, as they were at the call.
    pub(super) fn numbers(&self) -> std::ops::Range<usize> {
        0..self.nodes.len()
    }

    /// A node, unless it is gone.
    pub(super) fn node(&self, ix: usize) -> Option<&NodeProto> {
        self.nodes.get(ix)?.as_ref()
    }

    /// A node of the standard domain and of this type.
    pub(super) fn standard(&self, ix: usize, op_type: &str) -> Option<&NodeProto> {
        self.node(ix).filter(|node| is_standard(node) && node.op_type == op_type)
    }

    /// The node that makes `name`.
    pub(super) fn maker(&self, name: &str) -> Option<&NodeProto> {
        self.node(*self.makers.get(name)?)
    }

    /// The node that makes `name`, if it is of the standard domain and of this type and `name` its first output.
    pub(super) fn made_by(&self, name: &str, op_type: &str) -> Option<&NodeProto> {
        let maker = self.standard(*self.makers.get(name)?, op_type)?;
        (maker.output.first().map(String::as_str) == Some(name)).then_some(maker)
    }

    /// The nodes that take `name`, once for each time; none when the value is also needed outside of them.
    pub(super) fn users(&self, name: &str) -> &[usize] {
        if self.held.contains(name) { &[] } else { self.users.get(name).map_or(&[], Vec::as_slice) }
    }

    /// The one node that takes `name`, when it does so once and nothing else needs it.
    pub(super) fn only_user(&self, name: &str) -> Option<usize> {
        match self.users(name) {
            [user] => Some(*user),
            _ => None,
        }
    }

    /// The constant behind `name`: an initialiser, a `Constant` node, or either through `Identity`.
    pub(super) fn constant(&self, name: &str) -> Option<&TensorProto> {
        if let Some(tensor) = self.constants.get(name) {
            return Some(tensor);
        }
        let maker = self.maker(name).filter(|maker| is_standard(maker))?;
        match maker.op_type.as_str() {
            "Constant" => maker.attribute.iter().find(|a| a.name == "value")?.t.as_ref(),
            "Identity" => self.constant(maker.input.first()?),
            _ => None,
        }
    }

    /// Adds a constant under a new name.
    pub(super) fn add_constant(&mut self, like: &str, mut tensor: TensorProto) -> String {
        let name = self.new_name(like);
        tensor.name.clone_from(&name);
        self.constants.insert(name.clone(), tensor);
        name
    }

    /// A name that nothing has.
    pub(super) fn new_name(&mut self, like: &str) -> String {
        loop {
            self.added += 1;
            let name = format!("{like}.lookout{}", self.added);
            if !self.makers.contains_key(&name) && !self.constants.contains_key(&name) {
                return name;
            }
        }
    }

    /// Puts `nodes`, the last of which makes what node `ix` makes, in its place. What only that node needed goes.
    pub(super) fn replace(&mut self, ix: usize, nodes: Vec<NodeProto>) -> TractResult<()> {
        let old = self.nodes[ix].take().context("a node is replaced twice")?;
        for name in &old.output {
            self.makers.remove(name);
        }
        for node in nodes {
            self.nodes.push(Some(node));
            self.enter(self.nodes.len() - 1)?;
        }
        for name in &old.input {
            self.release(name, ix);
        }
        Ok(())
    }

    /// Node `user` no longer takes `name`.
    fn release(&mut self, name: &str, user: usize) {
        let mut gone = vec![(name.to_owned(), user)];
        while let Some((name, user)) = gone.pop() {
            let Some(users) = self.users.get_mut(&name) else { continue };
            if let Some(at) = users.iter().position(|u| *u == user) {
                users.remove(at);
            }
            if !users.is_empty() || self.held.contains(&name) {
                continue;
            }
            self.constants.remove(&name);
            let Some(maker) = self.makers.get(&name).copied() else { continue };
            let needed =
                |name: &String| self.held.contains(name) || self.users.get(name).is_some_and(|u| !u.is_empty());
            if self.node(maker).is_none_or(|node| node.output.iter().any(needed)) {
                continue;
            }
            if let Some(node) = self.nodes[maker].take() {
                for name in &node.output {
                    self.makers.remove(name);
                }
                gone.extend(node.input.into_iter().map(|name| (name, maker)));
            }
        }
    }

    fn enter(&mut self, ix: usize) -> TractResult<()> {
        let Some(node) = &self.nodes[ix] else { return Ok(()) };
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            let known = self.makers.insert(name.clone(), ix).is_some() || self.constants.contains_key(name);
            ensure!(!known, "two nodes make {name}; one is {} ({})", node.name, node.op_type);
        }
        for name in node.input.iter().filter(|name| !name.is_empty()) {
            self.users.entry(name.clone()).or_default().push(ix);
        }
        let mut bodies: Vec<&GraphProto> = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)).collect();
        while let Some(body) = bodies.pop() {
            for node in &body.node {
                self.held.extend(node.input.iter().cloned());
                bodies.extend(node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)));
            }
            self.held.extend(body.output.iter().map(|o| o.name.clone()));
        }
        Ok(())
    }

    /// Every node must be reachable without going round in circles.
    fn check_order(&self, graph: &GraphProto) -> TractResult<()> {
        let mut missing: Vec<usize> = Vec::with_capacity(self.nodes.len());
        let mut ready = Vec::new();
        for (ix, node) in self.nodes.iter().flatten().enumerate() {
            let waits = node.input.iter().filter(|name| self.makers.contains_key(*name)).count();
            missing.push(waits);
            if waits == 0 {
                ready.push(ix);
            }
        }
        let given: HashSet<&str> = graph.input.iter().map(|i| i.name.as_str()).collect();
        let mut done = 0;
        while let Some(ix) = ready.pop() {
            done += 1;
            let Some(node) = self.node(ix) else { continue };
            for name in &node.output {
                ensure!(!given.contains(name.as_str()), "node {} ({}) makes its input {name}", node.name, node.op_type);
                for user in self.users.get(name).into_iter().flatten() {
                    missing[*user] -= 1;
                    if missing[*user] == 0 {
                        ready.push(*user);
                    }
                }
            }
        }
        if done < self.nodes.len() {
            let stuck = missing.iter().position(|waits| *waits > 0).and_then(|ix| self.node(ix));
            let (name, op_type) = stuck.map_or(("", ""), |node| (&node.name, &node.op_type));
            bail!("node {name} ({op_type}) waits for its own output: the graph has a cycle");
        }
        Ok(())
    }
}

fn is_standard(node: &NodeProto) -> bool {
    matches!(node.domain.as_str(), "" | "ai.onnx")
}
