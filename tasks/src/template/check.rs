use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::lint::skeleton;
use super::offer::{Offer, offers};
use super::text::Text;
use super::{Finding, Template};

/// What is wrong with a template.
pub(super) fn one(offer: &Offer, template: &Template) -> Vec<String> {
    let mut problems = Vec::new();
    if template.name.is_empty() {
        problems.push("the name is empty".to_owned());
    }
    if !(template.weight.is_finite() && template.weight > 0.0) {
        let problem = format!("the weight is {}; it must be above 0", template.weight);
        problems.push(problem);
    }

    let prompts = template.system.iter().chain([&template.prompt]);
    let in_prompt: BTreeSet<_> = prompts.flat_map(Text::slots).collect();
    let in_answer: BTreeSet<_> = template.answer.slots().iter().collect();
    for (part, slots, names) in [
        ("prompt", &in_prompt, offer.prompt),
        ("answer", &in_answer, offer.answer),
    ] {
        if slots.is_empty() && !names.is_empty() {
            problems.push(format!("the {part} has no slot"));
        }
        for slot in slots {
            if part == "prompt" && in_answer.contains(slot) && !offer.may_repeat() {
                problems.push(format!("the answer's `{slot}` is in the prompt too"));
            } else if !offers(names, slot) {
                let known = names
                    .replace(' ', ", ")
                    .replace("fields", "any field of the items");
                let task = offer.task;
                problems.push(format!(
                    "unknown slot `{slot}`; the {part} of {task} may use: {known}"
                ));
            }
        }
    }

    let used: BTreeSet<_> = in_prompt.union(&in_answer).copied().collect();
    let declared: BTreeSet<_> = template.slots.iter().collect();
    let needed: BTreeSet<_> = template.needs.iter().collect();
    for slot in used.difference(&declared) {
        problems.push(format!("uses `{slot}`, but `slots` does not declare it"));
    }
    for slot in declared.difference(&used) {
        problems.push(format!("`slots` declares `{slot}`, but no text uses it"));
    }
    for slot in needed.difference(&declared) {
        problems.push(format!("`needs` names `{slot}`, but `slots` does not"));
    }
    let plain = template.texts().filter(|text| text.is_plain());
    for slot in plain.flat_map(Text::slots).collect::<BTreeSet<_>>() {
        if declared.contains(slot) && !needed.contains(slot) {
            problems.push(format!("always writes `{slot}`, so `needs` must name it"));
        }
    }
    problems
}

/// What is wrong with the templates of one file together.
pub(super) fn set(offer: &Offer, file: &str, templates: &[Template]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of_all = |problem: &str| Finding {
        file: file.to_owned(),
        line: 1,
        template: None,
        problem: problem.to_owned(),
    };
    if templates.is_empty() {
        findings.push(of_all("no [[template]] in it can be used"));
    } else if !offer.is_request() && templates.iter().all(|template| template.held_out) {
        findings.push(of_all(
            "none of the templates is left to train with: all are held out",
        ));
    }
    let mut names = HashSet::new();
    let mut skeletons = BTreeMap::new();
    for template in templates {
        if !names.insert(&template.name) {
            findings.push(template.finding("the name is taken".to_owned()));
        }
        if let Some(other) = skeletons.insert(skeleton(template), &template.name) {
            let problem = format!("but for case, space and punctuation it is {other:?}");
            findings.push(template.finding(problem));
        }
    }
    findings
}
