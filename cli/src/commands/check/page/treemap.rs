//! The tree of an index, cut down to what a page can show.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use semantic_id::ItemId;
use serde::Serialize;

use super::legend::Legend;
use crate::commands::check::inputs::Inputs;

/// Nodes of a page, at most: the largest prefixes are opened first.
const NODES: usize = 3000;

/// Children that are shown of a node; the smallest of more are one node, `rest`.
const CHILDREN: usize = 300;

/// Titles of a node, and characters of a title.
const TITLES: usize = 3;
const TITLE: usize = 60;

/// A prefix, or all smaller children of one.
#[derive(Debug, Serialize)]
pub(super) struct Node {
    /// As text; null: the rest.
    prefix: Option<String>,
    items: usize,
    /// The colour of most of its items, and their share.
    colour: usize,
    share: f64,
    titles: Vec<String>,
    children: Vec<Node>,
}

/// A node before its children are known.
struct Spot<'a> {
    node: Node,
    parent: usize,
    depth: usize,
    /// Its items in the order of their IDs; none of a rest.
    items: &'a [ItemId],
}

/// The largest prefixes as a tree.
pub(super) fn treemap(inputs: &Inputs, legend: &Legend) -> Node {
    let order: Vec<ItemId> = inputs.index.rank_to_item().iter().map(ItemId).collect();
    let painter = Painter { inputs, legend };
    let mut spots = vec![painter.spot(0, 0, &order)];
    let mut open = BinaryHeap::from([(order.len(), Reverse(0))]);
    while let Some((_, Reverse(at))) = open.pop() {
        let children = painter.children(at, &spots[at]);
        if spots.len() + children.len() > NODES {
            break;
        }
        for child in children {
            open.push((child.items.len(), Reverse(spots.len())));
            spots.push(child);
        }
    }
    // Children come after their parents.
    let mut root = None;
    while let Some(Spot {
        mut node, parent, ..
    }) = spots.pop()
    {
        node.children.reverse();
        match spots.get_mut(parent) {
            Some(parent) => parent.node.children.push(node),
            None => root = Some(node),
        }
    }
    root.expect("the first spot has no parent left")
}

struct Painter<'a> {
    inputs: &'a Inputs,
    legend: &'a Legend,
}

impl Painter<'_> {
    /// The node of some items that share `depth` codes; where all agree in the next codes too, of
    /// those.
    fn spot<'a>(&self, parent: usize, mut depth: usize, items: &'a [ItemId]) -> Spot<'a> {
        let paths = &self.inputs.paths;
        let [first, last] = [items[0], items[items.len() - 1]].map(|item| paths.row(item));
        while depth < first.len() && first[depth] == last[depth] {
            depth += 1;
        }
        let space = self.inputs.index.space();
        let prefix = space.unpadded(&first[..depth]);
        let prefix = self.inputs.index.token_format().text(prefix);
        Spot {
            node: self.node(Some(prefix), items.iter().copied()),
            parent,
            depth,
            items,
        }
    }

    fn children<'a>(&self, parent: usize, spot: &Spot<'a>) -> Vec<Spot<'a>> {
        let code = |item: &ItemId| self.inputs.paths.row(*item).get(spot.depth);
        let mut groups: Vec<&[ItemId]> = match spot.items {
            [] | [_] => return Vec::new(),
            items => items.chunk_by(|a, b| code(a) == code(b)).collect(),
        };
        if groups.len() < 2 {
            // Items that share their ID.
            return Vec::new();
        }
        groups.sort_by_key(|group| Reverse(group.len()));
        let rest = match groups.len() > CHILDREN {
            true => groups.split_off(CHILDREN - 1),
            false => Vec::new(),
        };
        let mut children: Vec<_> = groups
            .into_iter()
            .map(|group| self.spot(parent, spot.depth + 1, group))
            .collect();
        if !rest.is_empty() {
            children.push(Spot {
                node: self.node(None, rest.iter().copied().flatten().copied()),
                parent,
                depth: spot.depth,
                items: &[],
            });
        }
        children
    }

    fn node(&self, prefix: Option<String>, items: impl Iterator<Item = ItemId> + Clone) -> Node {
        let (colour, share) = self.legend.most(items.clone());
        Node {
            prefix,
            items: items.clone().count(),
            colour,
            share,
            titles: self.titles(items),
            children: Vec::new(),
        }
    }

    /// The titles, else keys, of the items that users met most; of equal ones the first.
    fn titles(&self, items: impl Iterator<Item = ItemId>) -> Vec<String> {
        let Inputs {
            keys,
            texts,
            events,
            ..
        } = self.inputs;
        let met = |item: &ItemId| {
            events
                .as_ref()
                .map_or(0, |events| events.training[item.index()])
        };
        let mut top: Vec<ItemId> = Vec::with_capacity(TITLES + 1);
        for item in items {
            let at = top.partition_point(|other| met(other) >= met(&item));
            if at < TITLES {
                top.insert(at, item);
                top.truncate(TITLES);
            }
        }
        let title = |item| texts.as_ref().and_then(|texts| texts.title(item));
        let text = |item| title(item).unwrap_or_else(|| keys.get(item));
        top.into_iter().map(|item| shortened(text(item))).collect()
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TITLE) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}
