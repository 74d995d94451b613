use std::collections::HashMap;

/// The path of each item in the tree of categories, `categories[item]` from the root: children
/// of a node are numbered as they first appear.
pub(super) fn prefixes(categories: &[Vec<&str>]) -> Vec<Vec<u32>> {
    let mut codes: HashMap<&[&str], u32> = HashMap::new();
    let mut children: HashMap<&[&str], u32> = HashMap::new();
    let mut prefixes = Vec::with_capacity(categories.len());
    for names in categories {
        let node = |depth| {
            *codes.entry(&names[..depth]).or_insert_with(|| {
                let children = children.entry(&names[..depth - 1]).or_default();
                *children += 1;
                *children - 1
            })
        };
        prefixes.push((1..=names.len()).map(node).collect());
    }
    prefixes
}
