use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::SideRecord;
use crate::corpus::{Context, View};
use crate::generators::Sample;
use crate::{Draw, Error, Part, Place, Result, Side, Templates, UserId};

/// A question to a teacher, whose answer becomes a side text.
///
/// The teacher is told the history before `made_at`, and nothing of the item that comes next: the
/// sample that the question is rendered from does not have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SideRequest {
    /// Its name among all requests; answers bear it.
    pub id: String,
    /// What the answer will be.
    pub kind: Side,
    /// The key of the user.
    pub user: String,
    /// The ordinal of the event it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<u32>,
    /// The first ordinal that the teacher does not know.
    pub made_at: u32,
    /// What the teacher is told beforehand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub system: Option<String>,
    /// What the teacher is asked.
    pub prompt: String,
}

/// The answer of a teacher, as it stands on a line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideAnswer {
    /// The request's name.
    pub id: String,
    /// The answer.
    pub text: String,
}

/// What became of the answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ingested {
    /// Answers that became side texts.
    pub taken: u64,
    /// Answers that say nothing.
    pub empty: u64,
    /// Answers that name the item which the teacher was not told: left out.
    pub name_the_target: u64,
    /// Requests without an answer.
    pub unanswered: u64,
}

impl SideRequest {
    /// The questions of a kind for a part, one a user; intentions are asked for every review.
    /// Users without a history, or without the side texts that the question needs, have none.
    ///
    /// # Errors
    ///
    /// [`Error::Recipe`] for reviews, which users write; [`Error::Render`] of a user's template.
    pub fn all(
        context: &Context<'_>,
        templates: &Templates,
        kind: Side,
        part: Part,
        seed: u64,
    ) -> Result<Vec<Self>> {
        let wordings = templates.requests(kind);
        if wordings.is_empty() {
            let problem =
                format!("there are no requests for {kind}: users write it, not a teacher");
            return Err(Error::Recipe(problem));
        }
        let mut requests = Vec::new();
        let mut sample = Sample::default();
        for (number, (user, target, made_at)) in (0..).zip(abouts(context, kind, part)) {
            sample.clear();
            let until = target.unwrap_or(made_at);
            let first = until.saturating_sub(context.style.max_items as u32);
            let events = &context.histories.items(user)[first as usize..until as usize];
            sample.history.extend(events);
            sample.user = Some(user);
            sample.target = target;
            sample.horizon = Some(made_at);
            let view = View::new(context, &sample);
            let suited: Vec<_> = wordings
                .iter()
                .filter(|wording| wording.suits(&view))
                .collect();
            let mut chance = Draw::new(seed, "requests", number);
            let Some(wording) = rand::seq::IndexedRandom::choose(&suited[..], &mut chance) else {
                continue;
            };
            let mut prompt = String::new();
            wording.prompt.render(&view, &mut prompt)?;
            let mut system = String::new();
            if let Some(text) = &wording.system {
                text.render(&view, &mut system)?;
            }
            let user = context.histories.key(user).to_owned();
            let about = target.map_or_else(|| "all".to_owned(), |target| target.to_string());
            requests.push(Self {
                id: format!("{kind}/{user}/{about}"),
                kind,
                user,
                target,
                made_at,
                system: wording.system.is_some().then_some(system),
                prompt,
            });
        }
        Ok(requests)
    }

    /// Makes side texts of answers, JSON lines of [`SideAnswer`], in the order of the requests.
    ///
    /// # Errors
    ///
    /// With file and line: what is no answer, an answer to no request, or a second one.
    pub fn ingest(
        requests: &[Self],
        file: &str,
        answers: &[u8],
        context: &Context<'_>,
    ) -> Result<(Vec<SideRecord>, Ingested)> {
        let known: HashSet<&str> = requests.iter().map(|request| &*request.id).collect();
        let mut texts: HashMap<String, String> = HashMap::new();
        for (line, number) in answers.split(|&byte| byte == b'\n').zip(1..) {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let bad = |problem: String| Error::Record {
                file: file.to_owned(),
                place: Place::line(number),
                problem,
            };
            let SideAnswer { id, text } =
                serde_json::from_slice(line).map_err(|error| bad(error.to_string()))?;
            if !known.contains(&*id) {
                return Err(bad(format!("an answer to {id:?}, which was not asked")));
            }
            if texts.insert(id.clone(), text).is_some() {
                return Err(bad(format!("a second answer to {id:?}")));
            }
        }
        let mut ingested = Ingested::default();
        let mut records = Vec::new();
        for request in requests {
            let text = texts.get(&request.id).map(|text| text.trim());
            match text {
                None => ingested.unanswered += 1,
                Some("") => ingested.empty += 1,
                Some(text) if request.is_told(text, context) => ingested.name_the_target += 1,
                Some(text) => {
                    ingested.taken += 1;
                    records.push(SideRecord {
                        kind: request.kind,
                        user: request.user.clone(),
                        target: request.target,
                        made_at: request.made_at,
                        text: text.to_owned(),
                    });
                }
            }
        }
        Ok((records, ingested))
    }

    /// Whether a text names the item that the request was not told of.
    fn is_told(&self, text: &str, context: &Context<'_>) -> bool {
        let user = context.histories.find(&self.user);
        let target = user.zip(self.target.filter(|&target| target >= self.made_at));
        let item = target
            .and_then(|(user, target)| context.histories.items(user).get(target as usize).copied());
        let names = item.map(|item| [context.title(item), context.ids.text(item)]);
        let text = text.to_lowercase();
        let mut names = names.into_iter().flatten().flatten();
        names.any(|name| text.contains(&name.to_lowercase()))
    }
}

/// Who is asked about, about which event, and until where the teacher knows the history.
fn abouts(context: &Context<'_>, kind: Side, part: Part) -> Vec<(UserId, Option<u32>, u32)> {
    let split = context.split;
    if kind == Side::Intention {
        // The review of an item tells what its buyer was after: it knows its own event.
        let reviews = context.side.iter(Side::Review);
        let of_part = reviews.filter_map(|review| {
            let target = review.target?;
            let targets = split.targets(review.user, part);
            let within = match part {
                Part::Train => (target as usize) < split.train_end(review.user),
                Part::Valid | Part::Test => targets.contains(&(target as usize)),
            };
            within.then_some((review.user, Some(target), target + 1))
        });
        return of_part.collect();
    }
    let users = context.histories.users();
    let about = users.filter_map(|user| {
        let targets = split.targets(user, part);
        let target = match part {
            Part::Train => targets.last(),
            Part::Valid | Part::Test => targets.clone().next(),
        }? as u32;
        Some(match kind {
            Side::Preference => (user, None, context.horizon(user, part, target)),
            _ => (user, Some(target), target),
        })
    });
    about.collect()
}
