use std::fmt::Write as _;

use semantic_id::ItemId;

use super::Context;
use crate::generators::Sample;
use crate::tokens::{Kept, first_sentences, sentences};
use crate::{SequenceItem, Side, SideText, Slot, Text, Values};

/// Nothing is left out.
pub(super) const WHOLE: Kept = Kept {
    items: usize::MAX,
    sentences: usize::MAX,
};

/// A sample as its template sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) sample: &'a Sample,
    /// What stands for the item in the answers of pairs.
    pub(super) instead: Option<ItemId>,
    /// How much is shown of history and description.
    pub(super) kept: Kept,
}

impl<'a> View<'a> {
    pub(crate) fn new(context: &'a Context<'a>, sample: &'a Sample) -> Self {
        Self {
            context,
            sample,
            instead: None,
            kept: WHOLE,
        }
    }

    /// How much a prompt shows that could be left out.
    pub(super) fn whole(&self, prompt: &Text) -> Kept {
        let shows = |slot: Slot| prompt.slots().contains(&slot);
        let description = Slot::from("description");
        let text = self.field("description").filter(|_| shows(description));
        // Without the planted item of a noisy history there is nothing to find.
        let history = shows(Slot::History) || shows(Slot::HistoryTitles);
        Kept {
            items: if history {
                self.sample.history.len()
            } else {
                0
            },
            sentences: text.map_or(0, sentences),
        }
    }

    /// The history that is shown, and then the item.
    pub(super) fn sequence(&self) -> Vec<SequenceItem<'a>> {
        let items = self.history().iter().copied().chain(self.item());
        let told = items.map(|item| SequenceItem {
            key: self.context.catalogue.keys().get(item),
            id: self.context.ids.text(item).unwrap_or_default(),
            title: self.title(item).unwrap_or_default(),
        });
        told.collect()
    }

    /// All slots that the sample has, by name.
    pub(super) fn fields(&self) -> Vec<(String, String)> {
        let fields = self.context.catalogue.fields();
        let slots = Slot::named().chain(fields.map(Slot::from));
        let told = slots.filter(|slot| self.has(slot)).map(|slot| {
            let mut text = String::new();
            self.write(&slot, &mut text);
            (slot.to_string(), text)
        });
        told.collect()
    }

    fn item(&self) -> Option<ItemId> {
        self.instead.or(self.sample.item)
    }

    /// The history that is shown, oldest first.
    fn history(&self) -> &'a [ItemId] {
        let history = &self.sample.history;
        match self.sample.planted {
            Some(_) => history,
            None => &history[history.len().saturating_sub(self.kept.items)..],
        }
    }

    /// The same as it was before an item was planted in it.
    fn true_history(&self) -> impl Iterator<Item = ItemId> {
        let items = self.history().iter().copied().enumerate();
        items.map(|(at, item)| match self.sample.planted {
            Some((place, replaced)) if place == at => replaced,
            _ => item,
        })
    }

    /// A side text, unless it knows what it must not.
    pub(super) fn side(&self, kind: Side) -> Option<SideText<'a>> {
        let text = (self.context.side).find(kind, self.sample.user?, self.sample.target)?;
        (text.made_at <= self.sample.horizon?).then_some(text)
    }

    fn title(&self, item: ItemId) -> Option<&'a str> {
        self.context.title(item)
    }

    fn field(&self, name: &str) -> Option<&'a str> {
        let item = self.item()?;
        match name {
            "title" => self.title(item),
            "description" => {
                let text = self.context.catalogue.text(item, name)?;
                Some(match self.kept.sentences {
                    usize::MAX => text,
                    count => first_sentences(text, count),
                })
            }
            _ => self.context.catalogue.text(item, name),
        }
    }

    fn write_id(&self, item: Option<ItemId>, out: &mut String) {
        let id = item.and_then(|item| self.context.ids.text(item));
        out.push_str(id.unwrap_or_default());
    }

    fn write_ids(&self, items: impl Iterator<Item = ItemId>, out: &mut String) {
        let style = self.context.style;
        style.write(items, out, |item, out| self.write_id(Some(item), out));
    }

    /// Writes titles in quotes; items without one are left out.
    fn write_titles(&self, items: &[ItemId], out: &mut String) {
        let titled = items
            .iter()
            .copied()
            .filter(|&item| self.title(item).is_some());
        let style = self.context.style;
        let [open, close] = &style.quotes;
        style.write(titled, out, |item, out| {
            out.push_str(open);
            out.push_str(self.title(item).unwrap_or_default());
            out.push_str(close);
        });
    }
}

impl Values for View<'_> {
    fn has(&self, slot: &Slot) -> bool {
        let sample = self.sample;
        let titled = |items: &[ItemId]| items.iter().any(|&item| self.title(item).is_some());
        let with_id =
            |item: Option<ItemId>| item.is_some_and(|item| self.context.ids.text(item).is_some());
        match slot {
            Slot::Item => with_id(self.item()),
            Slot::User => sample.user.is_some(),
            Slot::History => !sample.history.is_empty(),
            Slot::HistoryTitles => titled(self.history()) && sample.planted.is_none(),
            Slot::NoisyHistory | Slot::Noise | Slot::Replaced => sample.planted.is_some(),
            Slot::Candidates => !sample.candidates.is_empty(),
            Slot::CandidateTitles => {
                let mut candidates = sample.candidates.iter();
                !sample.candidates.is_empty() && candidates.all(|&item| self.title(item).is_some())
            }
            Slot::Candidate | Slot::Worst => with_id(sample.candidate),
            Slot::CandidateTitle => sample.candidate.and_then(|item| self.title(item)).is_some(),
            Slot::Remaining => sample.candidates.len() > 1 && sample.candidate.is_some(),
            Slot::Rating => sample.rating.is_some(),
            Slot::Liked => sample.liked.is_some(),
            Slot::Side(kind) => self.side(*kind).is_some(),
            Slot::Field(name) => self.field(name).is_some(),
        }
    }

    fn write(&self, slot: &Slot, out: &mut String) {
        let sample = self.sample;
        let user = || sample.user.map(|user| self.context.user_text(user));
        match slot {
            Slot::Item => self.write_id(self.item(), out),
            Slot::User => out.push_str(user().unwrap_or_default()),
            Slot::History => self.write_ids(self.true_history(), out),
            Slot::NoisyHistory => self.write_ids(self.history().iter().copied(), out),
            Slot::HistoryTitles => self.write_titles(self.history(), out),
            Slot::Noise => {
                let noise = sample
                    .planted
                    .and_then(|(place, _)| sample.history.get(place));
                self.write_id(noise.copied(), out);
            }
            Slot::Replaced => self.write_id(sample.planted.map(|(_, replaced)| replaced), out),
            Slot::Candidates => self.write_ids(sample.candidates.iter().copied(), out),
            Slot::CandidateTitles => self.write_titles(&sample.candidates, out),
            Slot::Candidate | Slot::Worst => self.write_id(sample.candidate, out),
            Slot::CandidateTitle => {
                let title = sample.candidate.and_then(|item| self.title(item));
                out.push_str(title.unwrap_or_default());
            }
            Slot::Remaining => {
                let others = sample.candidates.iter().copied();
                self.write_ids(others.filter(|&item| Some(item) != sample.candidate), out);
            }
            Slot::Rating => {
                let _ = write!(out, "{}", sample.rating.unwrap_or_default());
            }
            Slot::Liked => {
                let _ = write!(out, "{}", sample.liked.unwrap_or_default());
            }
            Slot::Side(kind) => out.push_str(self.side(*kind).map_or("", |side| side.text)),
            Slot::Field(name) => out.push_str(self.field(name).unwrap_or_default()),
        }
    }
}
