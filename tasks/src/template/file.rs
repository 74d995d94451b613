use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Display;

use serde::Deserialize;
use toml::Spanned;

use super::lint::skeleton;
use super::offer::{Offer, offers};
use super::slot::Slot;
use super::text::Text;
use super::{Finding, Template};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    template: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    system: Option<Spanned<String>>,
    prompt: Spanned<String>,
    answer: Option<Spanned<String>>,
    slots: Vec<String>,
    needs: Option<Vec<String>>,
    #[serde(default)]
    held_out: bool,
    #[serde(default = "one")]
    weight: f64,
}

fn one() -> f64 {
    1.0
}

/// Reads the templates of one task; all that is wrong with them if anything is.
pub(super) fn read(
    locale: &str,
    offer: &'static Offer,
    file: &str,
    text: &str,
) -> Result<Vec<Template>, Vec<Finding>> {
    let mut reader = Reader {
        offer,
        file,
        text,
        findings: Vec::new(),
    };
    let templates = reader.templates(locale);
    match reader.findings.is_empty() {
        true => Ok(templates),
        false => Err(reader.findings),
    }
}

struct Reader<'a> {
    offer: &'static Offer,
    file: &'a str,
    text: &'a str,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn templates(&mut self, locale: &str) -> Vec<Template> {
        let entries = match toml::from_str::<File>(self.text) {
            Ok(file) => file.template,
            Err(error) => {
                let line = self.line(error.span().unwrap_or_default().start);
                self.report(line, None, error.message());
                return Vec::new();
            }
        };
        if entries.is_empty() {
            self.report(1, None, "there is no [[template]] in it");
        } else if !self.offer.is_request() && entries.iter().all(|entry| entry.get_ref().held_out) {
            self.report(
                1,
                None,
                "all templates are held out; none is left to train with",
            );
        }
        let templates = entries.into_iter();
        let templates: Vec<_> = templates
            .filter_map(|entry| {
                let line = self.line(entry.span().start);
                self.template(locale, line, entry.into_inner())
            })
            .collect();
        self.check_distinct(&templates);
        templates
    }

    fn template(&mut self, locale: &str, line: usize, entry: Entry) -> Option<Template> {
        let path = format!("{locale}/{}/{}", self.offer.task, entry.name);
        if entry.name.is_empty() {
            self.report(line, Some(&entry.name), "the name is empty");
        }
        if !(entry.weight.is_finite() && entry.weight > 0.0) {
            let problem = format!("the weight is {}; it must be above 0", entry.weight);
            self.report(line, Some(&entry.name), problem);
        }
        let system = entry
            .system
            .map(|text| self.compile(&path, &entry.name, "system", &text));
        let prompt = self.compile(&path, &entry.name, "prompt", &entry.prompt);
        let answer = match entry.answer {
            Some(text) => self.compile(&path, &entry.name, "answer", &text),
            None if self.offer.is_request() => {
                Text::compile(&path, &format!("{{{{ {} }}}}", self.offer.answer)).ok()
            }
            None => {
                self.report(line, Some(&entry.name), "there is no `answer`");
                None
            }
        };
        let slots =
            |names: Vec<String>| names.iter().map(|name| Slot::from(name.as_str())).collect();
        let declared: Vec<Slot> = slots(entry.slots);
        let template = Template {
            task: self.offer.task,
            needs: entry.needs.map_or_else(|| declared.clone(), slots),
            slots: declared,
            system: match system {
                Some(system) => Some(system?),
                None => None,
            },
            prompt: prompt?,
            answer: answer?,
            held_out: entry.held_out,
            weight: entry.weight,
            name: entry.name,
            path,
            file: self.file.to_owned(),
            line,
        };
        self.check_slots(&template);
        Some(template)
    }

    fn compile(
        &mut self,
        path: &str,
        template: &str,
        part: &str,
        source: &Spanned<String>,
    ) -> Option<Text> {
        let line = self.line(source.span().start);
        if source.get_ref().trim().is_empty() {
            self.report(line, Some(template), format!("the {part} is empty"));
            return None;
        }
        let text = Text::compile(path, source.get_ref()).and_then(|text| {
            text.try_filters()?;
            Ok(text)
        });
        let fail = |error: minijinja::Error| {
            let quotes = &self.text[source.span()];
            let opens_line = quotes.starts_with("'''\n") || quotes.starts_with("\"\"\"\n");
            let line = line + usize::from(opens_line) + error.line().unwrap_or(1).saturating_sub(1);
            let detail = error.detail().map(|detail| format!(": {detail}"));
            let problem = format!("{part}: {}{}", error.kind(), detail.unwrap_or_default());
            self.report(line, Some(template), problem);
        };
        text.map_err(fail).ok()
    }

    fn check_slots(&mut self, template: &Template) {
        let mut problems = Vec::new();
        let in_prompt: BTreeSet<_> = (template.system.iter().chain([&template.prompt]))
            .flat_map(Text::slots)
            .collect();
        let in_answer: BTreeSet<_> = template.answer.slots().iter().collect();
        let used: BTreeSet<_> = in_prompt.union(&in_answer).copied().collect();
        let declared: BTreeSet<_> = template.slots.iter().collect();
        let needed: BTreeSet<_> = template.needs.iter().collect();

        for (part, slots, names) in [
            ("prompt", &in_prompt, self.offer.prompt),
            ("answer", &in_answer, self.offer.answer),
        ] {
            if slots.is_empty() {
                problems.push(format!("the {part} has no slot"));
            }
            for slot in slots {
                if part == "prompt" && in_answer.contains(slot) && !self.offer.may_repeat() {
                    problems.push(format!("the answer's `{slot}` is in the prompt too"));
                } else if !offers(names, slot) {
                    let (task, known) = (self.offer.task, names.replace(' ', ", "));
                    problems.push(format!(
                        "unknown slot `{slot}`; the {part} of {task} may use: {known}"
                    ));
                }
            }
        }
        for slot in used.difference(&declared) {
            problems.push(format!("uses `{slot}`, but `slots` does not declare it"));
        }
        for slot in declared.difference(&used) {
            problems.push(format!("`slots` declares `{slot}`, but no text uses it"));
        }
        for slot in needed.difference(&used) {
            problems.push(format!("`needs` names `{slot}`, but no text uses it"));
        }
        let plain = template.texts().filter(|text| text.is_plain());
        let always: BTreeSet<_> = plain.flat_map(Text::slots).collect();
        for slot in always.difference(&needed) {
            problems.push(format!("always writes `{slot}`, so `needs` must name it"));
        }
        for problem in problems {
            self.report(template.line, Some(&template.name), problem);
        }
    }

    fn check_distinct(&mut self, templates: &[Template]) {
        let mut names = HashSet::new();
        let mut skeletons = BTreeMap::new();
        for template in templates {
            if !names.insert(&template.name) {
                self.report(template.line, Some(&template.name), "the name is taken");
            }
            if let Some(other) = skeletons.insert(skeleton(template), &template.name) {
                let problem = format!("but for case, space and punctuation it is {other:?}");
                self.report(template.line, Some(&template.name), problem);
            }
        }
    }

    fn report(&mut self, line: usize, template: Option<&str>, problem: impl Display) {
        self.findings.push(Finding {
            file: self.file.to_owned(),
            line,
            template: template.map(str::to_owned),
            problem: problem.to_string(),
        });
    }

    fn line(&self, at: usize) -> usize {
        1 + self
            .text
            .bytes()
            .take(at)
            .filter(|&byte| byte == b'\n')
            .count()
    }
}
