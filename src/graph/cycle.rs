//! The shortest cycle of each knot of tasks, whole, so that a message can point at every edge of it.
//!
//! petgraph splits what could not be sorted into strongly connected parts (its Kosaraju keeps its own stack). In each
//! part a breadth-first search from a task finds the shortest cycle through it; then the task is taken out, and with it
//! every task that can no longer be in a cycle. One ring of any length therefore costs one search, and a bound on the
//! work ends the rest: a small fleet gets the shortest cycle there is, a huge knot the shortest through the tasks tried.

use std::collections::VecDeque;

use petgraph::graph::{DiGraph, NodeIndex};

use super::{Edge, Graph, GraphError};
use crate::id::{Id as _, TaskId};

/// Most edges looked at, for each edge there is, before the best cycle so far has to do.
const WORK_PER_EDGE: usize = 16;
/// Below this many looks no graph is cut short: all of a knot of 500 tasks with 4,000 edges.
const WORK_MIN: usize = 2_000_000;

const NONE: u32 = u32::MAX;

/// One error for each knot among `stuck`, the tasks in a cycle or behind one.
pub(super) fn shortest(graph: &Graph, stuck: &[TaskId]) -> Vec<GraphError> {
    let mut local = vec![NONE; graph.needs_at.len() - 1];
    let mut knots = DiGraph::<(), u32>::with_capacity(stuck.len(), stuck.len());
    for (task, node) in stuck.iter().zip(0u32..) {
        local[task.index()] = node;
        knots.add_node(());
    }
    for (edge, index) in graph.edges.iter().zip(0u32..) {
        let (from, to) = (local[edge.from.index()], local[edge.to.index()]);
        if from != NONE && to != NONE {
            knots.add_edge(NodeIndex::new(from as usize), NodeIndex::new(to as usize), index);
        }
    }
    let mut search = Search::new(&knots);
    let mut work = WORK_MIN + WORK_PER_EDGE * knots.edge_count();
    let mut errors: Vec<GraphError> = petgraph::algo::kosaraju_scc(&knots)
        .into_iter()
        .filter_map(|mut part| {
            part.sort_unstable();
            let cycle = search.part(&part, &mut work)?;
            Some(GraphError::Cycle { edges: cycle.into_iter().map(|index| graph.edges[index as usize]).collect() })
        })
        .collect();
    errors.sort_by_key(|error| match error {
        GraphError::Cycle { edges } => edges.iter().map(|edge: &Edge| edge.from).min(),
        _ => None,
    });
    errors
}

struct Search<'a> {
    knots: &'a DiGraph<(), u32>,
    /// Whether a node is of the part in hand and not taken out.
    alive: Vec<bool>,
    /// Edges in and out that are still there.
    ins: Vec<u32>,
    outs: Vec<u32>,
    /// The edge of `knots` by which the search reached a node, and in which search.
    reached: Vec<(u32, u32)>,
    round: u32,
}

impl<'a> Search<'a> {
    fn new(knots: &'a DiGraph<(), u32>) -> Self {
        let nodes = knots.node_count();
        Self {
            knots,
            alive: vec![false; nodes],
            ins: vec![0; nodes],
            outs: vec![0; nodes],
            reached: vec![(NONE, 0); nodes],
            round: 0,
        }
    }

    /// The shortest cycle of a strongly connected part, as indexes of the graph's edges; `None` for a lone task.
    fn part(&mut self, part: &[NodeIndex], work: &mut usize) -> Option<Vec<u32>> {
        for node in part {
            self.alive[node.index()] = true;
        }
        for &node in part {
            for to in self.knots.neighbors(node) {
                if self.alive[to.index()] {
                    self.outs[node.index()] += 1;
                    self.ins[to.index()] += 1;
                }
            }
        }
        let mut best: Option<Vec<u32>> = None;
        for &node in part {
            if !self.alive[node.index()] {
                continue;
            }
            if best.is_some() && *work == 0 {
                break;
            }
            let longest = best.as_ref().map_or(usize::MAX, |cycle| cycle.len() - 1);
            if let Some(cycle) = self.through(node, longest, work) {
                best = Some(cycle);
            }
            if best.as_ref().is_some_and(|cycle| cycle.len() == 1) {
                break;
            }
            self.take_out(node);
        }
        for node in part {
            self.alive[node.index()] = false;
        }
        best
    }

    /// The shortest cycle through `start` of at most `longest` edges, among the nodes that are there.
    fn through(&mut self, start: NodeIndex, longest: usize, work: &mut usize) -> Option<Vec<u32>> {
        self.round += 1;
        let mut open = VecDeque::from([(start, 0usize)]);
        while let Some((node, depth)) = open.pop_front() {
            if depth >= longest {
                return None;
            }
            let mut edges = self.knots.neighbors(node).detach();
            while let Some((edge, to)) = edges.next(self.knots) {
                *work = work.saturating_sub(1);
                if to == start {
                    let mut cycle = vec![self.knots[edge]];
                    let mut at = node;
                    while at != start {
                        let (by, _) = self.reached[at.index()];
                        let by = petgraph::graph::EdgeIndex::new(by as usize);
                        cycle.push(self.knots[by]);
                        at = self.knots.edge_endpoints(by).expect("an edge that was walked").0;
                    }
                    cycle.reverse();
                    return Some(cycle);
                }
                let (_, round) = self.reached[to.index()];
                if self.alive[to.index()] && round != self.round {
                    let by = u32::try_from(edge.index()).expect("edges are counted in 32 bits");
                    self.reached[to.index()] = (by, self.round);
                    open.push_back((to, depth + 1));
                }
            }
        }
        None
    }

    /// Takes out a node and all that no cycle can pass any more.
    fn take_out(&mut self, node: NodeIndex) {
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut self.alive[node.index()], false) {
                continue;
            }
            for to in self.knots.neighbors(node) {
                self.ins[to.index()] = self.ins[to.index()].saturating_sub(1);
                if self.alive[to.index()] && self.ins[to.index()] == 0 {
                    open.push(to);
                }
            }
            for from in self.knots.neighbors_directed(node, petgraph::Direction::Incoming) {
                self.outs[from.index()] = self.outs[from.index()].saturating_sub(1);
                if self.alive[from.index()] && self.outs[from.index()] == 0 {
                    open.push(from);
                }
            }
        }
    }
}
