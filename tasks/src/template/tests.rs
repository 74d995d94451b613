use proptest::prelude::*;

use super::text::Text;
use super::*;

/// A sample that has everything, but for what it is told to lack.
struct Sample {
    lacks: &'static [&'static str],
}

impl Values for Sample {
    fn has(&self, slot: &Slot) -> bool {
        !self.lacks.contains(&slot.to_string().as_str())
    }

    fn write(&self, slot: &Slot, out: &mut String) {
        let field;
        out.push_str(match slot {
            Slot::Item => "<a_5><b_1>",
            Slot::User => "<u_7>",
            Slot::History => "<a_1><b_1>, <a_2><b_4>, <a_2><b_9>",
            Slot::HistoryTitles => "\"Chess\", \"Go\", \"Hex\"",
            Slot::NoisyHistory => "<a_1><b_1>, <a_8><b_8>, <a_2><b_9>",
            Slot::Noise => "<a_8><b_8>",
            Slot::Replaced => "<a_2><b_4>",
            Slot::Candidates => "<a_5><b_1>, <a_9><b_9>",
            Slot::CandidateTitles => "\"Shogi\", \"Drill\"",
            Slot::Candidate => "<a_9><b_9>",
            Slot::CandidateTitle => "Drill",
            Slot::Worst => "<a_9><b_9>",
            Slot::Remaining => "<a_5><b_1>",
            Slot::Rating => "4.5",
            Slot::Liked => "true",
            Slot::Side(side) => {
                field = format!("[{side}]");
                &field
            }
            Slot::Field(name) if name == "title" => "Shogi",
            Slot::Field(name) => {
                field = format!("[{name}]");
                &field
            }
        });
    }
}

const WHOLE: Sample = Sample { lacks: &[] };

fn rendered(text: &Text, values: &impl Values) -> String {
    let mut out = String::new();
    text.render(values, &mut out).expect("renders");
    out
}

/// What is wrong in a file of the task, a line each.
fn problems(task: &str, text: &str) -> Vec<String> {
    let mut templates = Templates::builtin("en").expect("builtin");
    match templates.overlay(task, "my.toml", text) {
        Ok(()) => Vec::new(),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn tutorial() -> Result<()> {
    let mut templates = Templates::builtin("en")?;
    let next = &templates.of("sequential")[0];
    assert_eq!(next.path, "en/sequential/comes-next");
    assert_eq!(
        rendered(&next.prompt, &WHOLE),
        "Here is what a customer has chosen so far, oldest first: \
         <a_1><b_1>, <a_2><b_4>, <a_2><b_9>. Which item comes next?"
    );
    assert_eq!(rendered(&next.answer, &WHOLE), "<a_5><b_1>");

    let untold = Sample {
        lacks: &["description"],
    };
    let suit = |template: &&Template| template.suits(&untold);
    assert_eq!(templates.of("item-to-text").iter().filter(suit).count(), 4);

    let mine = r#"
        [[template]]
        name = "brand"
        slots = ["brand", "item", "title"]
        needs = ["item", "title"]
        prompt = "Name {{ item }}{% if brand is defined %} by {{ brand }}{% endif %}."
        answer = "{{ title }}"
    "#;
    templates.overlay("item-to-text", "item-to-text.toml", mine)?;
    let brand = &templates.of("item-to-text")[0];
    let nameless = Sample { lacks: &["brand"] };
    assert_eq!(
        rendered(&brand.prompt, &WHOLE),
        "Name <a_5><b_1> by [brand]."
    );
    assert_eq!(rendered(&brand.prompt, &nameless), "Name <a_5><b_1>.");
    Ok(())
}

/// The snapshots show one row of each template.
#[test]
fn builtin_templates_render() -> Result<()> {
    for locale in LOCALES {
        let templates = Templates::builtin(locale)?;
        let mut rows = String::new();
        for template in Templates::tasks().flat_map(|task| templates.of(task)) {
            assert!(template.suits(&WHOLE));
            let path = &template.path;
            let prompt = rendered(&template.prompt, &WHOLE);
            let answer = rendered(&template.answer, &WHOLE);
            rows += &format!("## {path}\n{prompt}\n");
            if !answer.is_empty() {
                rows += &format!("-> {answer}\n");
            }
            rows.push('\n');
        }
        insta::assert_snapshot!(locale, rows);
    }
    Ok(())
}

#[test]
fn builtin_templates_are_clean_and_of_the_numbers_promised() -> Result<()> {
    let english = Templates::builtin("en")?;
    let chinese = Templates::builtin("zh")?;
    assert_eq!(english.lint(), []);
    assert_eq!(chinese.lint(), []);
    for offer in OFFERS.iter().filter(|offer| !offer.is_request()) {
        let lc_rec = [
            "sequential",
            "text-to-item",
            "item-to-text",
            "fusion",
            "intention",
            "preference",
        ];
        let expected = if lc_rec.contains(&offer.task) { 12 } else { 3 };
        assert_eq!(english.of(offer.task).len(), expected, "{}", offer.task);
        assert!(chinese.of(offer.task).len() >= 3, "{}", offer.task);
        for templates in [&english, &chinese] {
            assert!(templates.of(offer.task).iter().any(|one| one.held_out));
        }
    }
    Ok(())
}

#[test]
fn requests_never_see_the_target() -> Result<()> {
    for locale in LOCALES {
        let templates = Templates::builtin(locale)?;
        for side in [
            Side::Intention,
            Side::Preference,
            Side::Evidence,
            Side::LatentPreference,
            Side::Intent,
            Side::RewrittenHistory,
        ] {
            let [request] = templates.requests(side) else {
                panic!("one request for {side}");
            };
            assert_eq!(request.needs, [Slot::HistoryTitles]);
            assert_eq!(rendered(&request.answer, &WHOLE), "");
        }
        assert!(templates.requests(Side::Review).is_empty());
    }
    Ok(())
}

#[test]
fn mistakes_are_all_named() {
    let text = r#"
[[template]]
name = "one"
slots = ["history", "item", "brand"]
prompt = "After {{ histroy }}?"
answer = "{{ item }}"

[[template]]
name = "one"
slots = ["history", "item"]
needs = ["item"]
prompt = "After {{ history }} comes {{ item }}"
answer = "{{ item }}"
weight = -1

[[template]]
name = "three"
slots = []
prompt = " "
answer = '''
Out:
{% if %}'''
"#;
    insta::assert_snapshot!(problems("sequential", text).join("\n"), @r#"
    my.toml, line 2, template "one": unknown slot `histroy`; the prompt of sequential may use: history, history_titles, user
    my.toml, line 2, template "one": uses `histroy`, but `slots` does not declare it
    my.toml, line 2, template "one": `slots` declares `history`, but no text uses it
    my.toml, line 2, template "one": `slots` declares `brand`, but no text uses it
    my.toml, line 8, template "one": the weight is -1; it must be above 0
    my.toml, line 8, template "one": the answer's `item` is in the prompt too
    my.toml, line 8, template "one": always writes `history`, so `needs` must name it
    my.toml, line 19, template "three": the prompt is empty
    my.toml, line 22, template "three": answer: syntax error: unexpected end of block
    my.toml, line 8, template "one": the name is taken
    "#);
}

#[test]
fn files_of_the_wrong_form_are_refused() {
    for (text, expected) in [
        ("", "line 1: no [[template]]"),
        ("[[template]]\nnam = 1", "line 2: unknown field `nam`"),
        ("[[template]]\nname = \"x", "line 2: "),
        ("template = 3", "line 1: invalid type"),
    ] {
        let found = problems("sequential", text).join("\n");
        assert!(found.contains(expected), "{text:?}: {found}");
    }
    let error = Templates::builtin("xx").expect_err("no such locale");
    assert!(error.to_string().contains("en, zh"), "{error}");
    let mut templates = Templates::builtin("en").expect("builtin");
    let error = templates
        .overlay("sequentail", "x.toml", "")
        .expect_err("no such task");
    assert!(error.to_string().contains("sequential"), "{error}");
}

#[test]
fn rules_differ_between_tasks() {
    for (task, prompt, expected) in [
        (
            "text-to-item",
            "{{ title }} is {{ item }}",
            "answer's `item` is in the prompt",
        ),
        (
            "text-to-item",
            "{{ history }}",
            "may use: any field of the items",
        ),
        (
            "sequential",
            "{{ history | uper }}",
            "prompt: unknown filter",
        ),
        ("sequential", "What next?", "the prompt has no slot"),
        (
            "requests/intent",
            "{{ history }}",
            "a request has no `answer`",
        ),
    ] {
        let found = problems(task, &one(prompt, false)).join("\n");
        assert!(found.contains(expected), "{prompt}: {found}");
    }
}

fn one(prompt: &str, held_out: bool) -> String {
    format!(
        "[[template]]\nname = {prompt:?}\nslots = [\"history\", \"item\"]\n\
         prompt = {prompt:?}\nanswer = \"{{{{ item }}}}\"\nheld_out = {held_out}\n"
    )
}

#[test]
fn twins_and_missing_training_are_found() {
    let twins = one("After {{ history }}?", false) + &one("after {{history}}!", false);
    let found = problems("sequential", &twins).join("\n");
    assert!(
        found.contains("but for case, space and punctuation"),
        "{found}"
    );

    let held_out = one("After {{ history }}?", true);
    let found = problems("sequential", &held_out).join("\n");
    assert!(found.contains("left to train with"), "{found}");

    let mut templates = Templates::builtin("en").expect("builtin");
    let alike = one("What might they pick after {{ history }}? ", false)
        + &one("What might he pick after {{ history }}?", false);
    templates
        .overlay("sequential", "my.toml", &alike)
        .expect("doubtful only");
    let doubts: Vec<_> = templates.lint().iter().map(ToString::to_string).collect();
    assert_eq!(doubts.len(), 2, "{doubts:?}");
    assert!(doubts[0].contains("ends in white space"), "{doubts:?}");
    assert!(doubts[1].contains("% like"), "{doubts:?}");
}

#[test]
fn costly_templates_are_stopped() {
    let nested = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
    for prompt in [
        format!("{{{{ item }}}}{{{{ {nested} }}}}"),
        "{{ item * 100000000000 }}".to_owned(),
        "{% for x in item * 90000000 %}{% for y in item * 90000000 %}.{% endfor %}{% endfor %}"
            .to_owned(),
        "{% for x in [item] recursive %}{{ loop([x]) }}{% endfor %}".to_owned(),
        "{% for x in range(9999) %}{{ item }}{% endfor %}".to_owned(),
    ] {
        if let Ok(text) = Text::compile("test", &prompt) {
            let mut out = String::new();
            text.render(&WHOLE, &mut out).expect_err("stopped");
        }
    }
}

/// Sources made of what a text may hold and, now and then, of what breaks it.
fn source() -> impl Strategy<Value = String> {
    let sound = [
        "{{ item }}",
        "{{item}}",
        "{{ title}}",
        "{{\thistory\n}}",
        "{{- user -}}",
        "{{ true }}",
        "{{ rating }}",
        "{{ liked }}",
        "{{ title | upper }}",
        "{# note #}",
        "}}",
        "}",
        "%",
        "\n",
        "\r\n",
        " ",
        "汉字",
        "a\"b'",
        "<i>&",
    ];
    let unsound = [
        "{",
        "{{",
        "{% if liked %}",
        "{% endif %}",
        "{% raw %}",
        "{% endraw %}",
        "{{ loop }}",
        "{{ self }}",
        "{{ 1x }}",
        "{{ a.b }}",
        "{{ range }}",
        "{{ not }}",
        "{{ }}",
    ];
    let part = prop_oneof![
        12 => proptest::sample::select(sound.to_vec()),
        1 => proptest::sample::select(unsound.to_vec()),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn the_plain_path_equals_jinja(source in source()) {
        // An empty comment takes the source off the plain path.
        let jinja = Text::compile("test", &format!("{{##}}{source}"));
        let text = Text::compile("test", &source);
        prop_assert_eq!(text.is_ok(), jinja.is_ok());
        if let (Ok(text), Ok(jinja)) = (text, jinja) {
            prop_assert!(!jinja.is_plain());
            prop_assert_eq!(text.slots(), jinja.slots());
            let (mut ours, mut theirs) = (String::new(), String::new());
            let result = text.render(&WHOLE, &mut ours).is_ok();
            prop_assert_eq!(result, jinja.render(&WHOLE, &mut theirs).is_ok());
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn hostile_files_never_panic(text in "\\PC{0,200}", source in source()) {
        let mut templates = Templates::builtin("en").expect("builtin");
        let _ = templates.overlay("fusion", "x.toml", &text);
        let _ = templates.overlay("fusion", "x.toml", &one(&source, false));
    }
}
