use serde::Deserialize;
use toml::Spanned;

use super::offer::Offer;
use super::slot::Slot;
use super::text::Text;
use super::{Finding, Template, check};

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
    let entries = match toml::from_str::<File>(text) {
        Ok(file) => file.template,
        Err(error) => {
            let line = line_of(text, error.span().unwrap_or_default().start);
            return Err(vec![Finding {
                file: file.to_owned(),
                line,
                template: None,
                problem: error.message().to_owned(),
            }]);
        }
    };
    let mut findings = Vec::new();
    let mut templates = Vec::new();
    for entry in entries {
        let name = entry.get_ref().name.clone();
        let mut reader = Reader {
            offer,
            file,
            text,
            path: format!("{locale}/{}/{name}", offer.task),
            problems: Vec::new(),
        };
        templates.extend(reader.template(entry));
        findings.extend(reader.problems.into_iter().map(|(line, problem)| Finding {
            file: file.to_owned(),
            line,
            template: Some(name.clone()),
            problem,
        }));
    }
    findings.extend(check::set(offer, file, &templates));
    match findings.is_empty() {
        true => Ok(templates),
        false => Err(findings),
    }
}

/// Reads one template.
struct Reader<'a> {
    offer: &'static Offer,
    file: &'a str,
    text: &'a str,
    path: String,
    /// What is wrong, and in which line.
    problems: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn template(&mut self, entry: Spanned<Entry>) -> Option<Template> {
        let line = line_of(self.text, entry.span().start);
        let entry = entry.into_inner();
        let system = entry.system.map(|text| self.compile("system", &text));
        let prompt = self.compile("prompt", &entry.prompt);
        let answer = match (entry.answer, self.offer.is_request()) {
            (Some(text), false) => self.compile("answer", &text),
            (None, true) => Text::compile(&self.path, "").ok(),
            (Some(_), true) => self.refuse(line, "a request has no `answer`"),
            (None, false) => self.refuse(line, "there is no `answer`"),
        };
        let slots =
            |names: Vec<String>| names.iter().map(|name| Slot::from(name.as_str())).collect();
        let declared: Vec<Slot> = slots(entry.slots);
        let template = Template {
            task: self.offer.task,
            name: entry.name,
            path: self.path.clone(),
            system: match system {
                Some(system) => Some(system?),
                None => None,
            },
            prompt: prompt?,
            answer: answer?,
            needs: entry.needs.map_or_else(|| declared.clone(), slots),
            slots: declared,
            held_out: entry.held_out,
            weight: entry.weight,
            file: self.file.to_owned(),
            line,
        };
        let problems = check::one(self.offer, &template).into_iter();
        self.problems
            .extend(problems.map(|problem| (line, problem)));
        Some(template)
    }

    fn compile(&mut self, part: &str, source: &Spanned<String>) -> Option<Text> {
        let line = line_of(self.text, source.span().start);
        if source.get_ref().trim().is_empty() {
            return self.refuse(line, &format!("the {part} is empty"));
        }
        let error = match Text::compile(&self.path, source.get_ref()).and_then(Text::tried) {
            Ok(text) => return Some(text),
            Err(error) => error,
        };
        let quotes = &self.text[source.span()];
        let opens_line = quotes.starts_with("'''\n") || quotes.starts_with("\"\"\"\n");
        let line = line + usize::from(opens_line) + error.line().unwrap_or(1).saturating_sub(1);
        let detail = error.detail().map(|detail| format!(": {detail}"));
        let problem = format!("{part}: {}{}", error.kind(), detail.unwrap_or_default());
        self.refuse(line, &problem)
    }

    fn refuse<T>(&mut self, line: usize, problem: &str) -> Option<T> {
        self.problems.push((line, problem.to_owned()));
        None
    }
}

/// The line, from 1, of the byte at `at`.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count()
}
