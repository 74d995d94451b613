//! The rules that a row's provenance alone can break.

use super::users::User;
use crate::{Part, Provenance};

/// What is wrong.
type Check = Result<(), String>;

/// Tasks whose rows hold texts that somebody wrote who knew a part of the user's history.
pub(super) const SIDE_TEXT_TASKS: [&str; 4] =
    ["intention", "preference", "reasoning", "explanation"];

pub(super) fn holds_together(of: &Provenance<'_>) -> Check {
    let template_of = |task: &str| {
        of.template
            .split('/')
            .nth(1)
            .is_none_or(|part| part == task)
    };
    match of {
        _ if of.task.is_empty() => Err("no task is named".into()),
        _ if !template_of(&of.task) => Err(format!(
            "template {} is none of task {}",
            of.template, of.task
        )),
        Provenance {
            reads: Some([first, end]),
            ..
        } if first > end => Err(format!("reads the events {first}..{end}")),
        Provenance {
            user: Some(_),
            horizon: None,
            ..
        } => Err("a user, but no horizon".into()),
        Provenance {
            user: None,
            reads,
            target,
            horizon,
            made_at,
            ..
        } if reads.is_some() || [target, horizon, made_at].iter().any(|at| at.is_some()) => {
            Err("events of nobody: no user is named".into())
        }
        _ => Ok(()),
    }
}

pub(super) fn within_horizon(of: &Provenance<'_>) -> Check {
    let end = of.reads.map_or(0, |[_, end]| end);
    match (of.horizon, of.target) {
        (Some(horizon), _) if end > horizon => Err(format!(
            "reads events before {end}, its horizon is {horizon}"
        )),
        (_, Some(target)) if end > target => {
            Err(format!("reads events before {end}, its target is {target}"))
        }
        _ => Ok(()),
    }
}

pub(super) fn within_split(of: &Provenance<'_>, user: Option<User<'_>>) -> Check {
    let name = of.user.as_deref().unwrap_or_default();
    let user = user.ok_or_else(|| format!("user {name:?} is not in the split"))?;
    let part = user.part(of.part);
    // What was written about an event is what these ask with, or ask for.
    let knows_event = ["intention", "explanation"].contains(&&*of.task);
    let limit = match (of.part, of.target) {
        (Part::Train, _) => part.end,
        (Part::Valid | Part::Test, Some(target)) => target.saturating_add(knows_event.into()),
        (Part::Valid | Part::Test, None) => part.start,
    };
    match (of.horizon, of.target) {
        (_, Some(target)) if !part.contains(&target) => Err(format!(
            "target {target} is not among the events {}..{} of {}",
            part.start, part.end, of.part
        )),
        (Some(horizon), _) if horizon > limit => Err(format!(
            "its horizon is {horizon}, that of {} is {limit}",
            of.part
        )),
        _ => Ok(()),
    }
}

pub(super) fn side_texts(of: &Provenance<'_>) -> Check {
    match (of.made_at, of.horizon) {
        (None, _) => Err("no made_at tells what the writer of its side text knew".into()),
        (Some(made_at), Some(horizon)) if made_at > horizon => Err(format!(
            "its side text was made knowing the events before {made_at}, its horizon is {horizon}"
        )),
        _ => Ok(()),
    }
}
