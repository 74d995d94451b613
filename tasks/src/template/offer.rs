use super::slot::Slot;

/// What the templates of a task may use: names of slots; `fields` is any field of the item.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) task: &'static str,
    pub(super) prompt: &'static str,
    /// Empty for requests, which have no answer yet.
    pub(super) answer: &'static str,
    /// The builtin templates, English and Chinese.
    pub(super) builtin: [&'static str; 2],
}

/// The locales of the builtin templates.
pub(super) const LOCALES: [&str; 2] = ["en", "zh"];

macro_rules! offers {
    ($($task:literal: $prompt:literal => $answer:literal;)*) => {
        pub(super) const OFFERS: &[Offer] = &[$(Offer {
            task: $task,
            prompt: $prompt,
            answer: $answer,
            builtin: [
                include_str!(concat!("../../templates/en/", $task, ".toml")),
                include_str!(concat!("../../templates/zh/", $task, ".toml")),
            ],
        }),*];
    };
}

offers! {
    "sequential": "history history_titles user" => "item";
    "user-sequential": "user history history_titles" => "item";
    "text-to-item": "fields" => "item";
    "item-to-text": "item fields" => "fields";
    "fusion": "history history_titles user" => "item fields";
    "intention": "intention preference history history_titles user" => "item";
    "preference": "history history_titles user" => "preference";
    "features": "item fields" => "item fields";
    "reconstruction": "history history_titles user" => "history history_titles";
    "denoising": "noisy_history noise user" => "noise replaced";
    "rating": "history history_titles user item fields" => "rating liked";
    "ranking": "history history_titles user candidates candidate_titles" => "item fields";
    "elimination": "history history_titles user candidates candidate_titles" => "worst remaining";
    "yes-no": "history history_titles user candidate candidate_title" => "liked";
    "explanation": "history history_titles user item fields rating liked" => "review";
    "reasoning": "history history_titles user evidence latent_preference intent rewritten_history"
        => "evidence latent_preference intent rewritten_history item";
    "pairs": "history history_titles user" => "item";
    "requests/intention": "history_titles review" => "";
    "requests/preference": "history_titles" => "";
    "requests/evidence": "history_titles" => "";
    "requests/latent_preference": "history_titles" => "";
    "requests/intent": "history_titles" => "";
    "requests/rewritten_history": "history_titles" => "";
}

impl Offer {
    pub(super) fn of(task: &str) -> Option<&'static Self> {
        OFFERS.iter().find(|offer| offer.task == task)
    }

    pub(super) fn is_request(&self) -> bool {
        self.answer.is_empty()
    }

    /// Whether a slot may be in the prompt and in the answer.
    pub(super) fn may_repeat(&self) -> bool {
        self.task == "reconstruction"
    }
}

/// Whether a slot is among those named.
pub(super) fn offers(names: &str, slot: &Slot) -> bool {
    let is_field = matches!(slot, Slot::Field(_));
    let mut names = names.split(' ').map(Slot::from);
    names.any(|name| name == *slot || is_field && name == Slot::from("fields"))
}
