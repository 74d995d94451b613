use std::array;
use std::borrow::Cow;

use super::{Event, EventOptions};

/// What a field is to us, by number: the index into [`Fields`] and [`Record`].
const ROLES: [&str; 4] = ["user", "item", "time", "rating"];
pub(super) const USER: usize = 0;
pub(super) const ITEM: usize = 1;
pub(super) const TIME: usize = 2;
pub(super) const RATING: usize = 3;

/// The usual names of each role's field, in lower case, first choice first.
const USUAL: [&[&str]; 4] = [
    &["user_id", "userid", "reviewerid", "user", "customer_id"],
    &[
        "item_id",
        "itemid",
        "parent_asin",
        "asin",
        "movie_id",
        "movieid",
        "product_id",
        "sku",
        "item",
    ],
    &["timestamp", "unixreviewtime", "time", "ts"],
    &["rating", "overall", "stars", "score"],
];

/// The values of an event's fields as texts, by role.
pub(super) type Record<'a> = [Option<Cow<'a, str>>; 4];

/// The names of a file's fields, by role.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields([Option<String>; 4]);

impl Fields {
    /// Finds the fields among the names that a file has.
    pub(super) fn find(options: &EventOptions, names: &[&str]) -> Result<Self, String> {
        let told = [&options.user, &options.item, &options.time, &options.rating];
        let mut fields = Self::default();
        for (role, told) in told.into_iter().enumerate() {
            fields.0[role] = match told.as_deref() {
                None => usual(role, names),
                Some("") if role >= TIME => None,
                Some(name) if names.contains(&name) => Some(name),
                Some(name) => {
                    let names = names.join(", ");
                    return Err(format!("there is no field {name:?}; there are: {names}"));
                }
            }
            .map(str::to_owned);
            if fields.0[role].is_none() && role < TIME {
                let (role, names) = (ROLES[role], names.join(", "));
                let problem = "no field looks like the";
                return Err(format!("{problem} {role}; name the one to use of: {names}"));
            }
        }
        Ok(fields)
    }

    /// The fields of a format that does not name them: they are called after their roles.
    pub(super) fn unnamed(options: &EventOptions, has_times_and_ratings: bool) -> Self {
        let ignored = |told: &Option<String>| told.as_deref() == Some("");
        Self(array::from_fn(|role| {
            let is_read = match role {
                TIME => has_times_and_ratings && !ignored(&options.time),
                RATING => has_times_and_ratings && !ignored(&options.rating),
                _ => true,
            };
            is_read.then(|| ROLES[role].to_owned())
        }))
    }

    /// Whether a header has the usual names of a user and an item.
    pub(super) fn are_usual(names: &[&str]) -> bool {
        usual(USER, names).is_some() && usual(ITEM, names).is_some()
    }

    /// The role of the field of a name.
    pub(super) fn role(&self, name: &str) -> Option<usize> {
        self.0
            .iter()
            .position(|field| field.as_deref() == Some(name))
    }

    /// For each role, where its field is among the names.
    pub(super) fn columns(&self, names: &[&str]) -> [Option<usize>; 4] {
        array::from_fn(|role| {
            let field = self.0[role].as_deref()?;
            names.iter().position(|&name| name == field)
        })
    }

    /// The event that a record tells, if it is one.
    pub(super) fn event<'a>(&self, record: &'a Record<'_>) -> Result<Event<'a>, String> {
        let text = |role: usize| match record[role].as_deref() {
            Some("") | None => Err(format!("{} is missing", self.name(role))),
            Some(text) => Ok(text),
        };
        let mut event = Event {
            user: text(USER)?,
            item: text(ITEM)?,
            micros: None,
            rating: None,
        };
        if self.0[TIME].is_some() {
            let time = text(TIME)?.trim().parse();
            let micros = time.ok().and_then(Event::micros_of);
            event.micros = Some(micros.ok_or_else(|| self.no_number(TIME, record))?);
        }
        if self.0[RATING].is_some() {
            let rating = text(RATING)?.trim().parse().ok();
            let rating = rating.filter(|rating: &f32| rating.is_finite());
            event.rating = Some(rating.ok_or_else(|| self.no_number(RATING, record))?);
        }
        Ok(event)
    }

    /// A field as errors name it.
    pub(super) fn name(&self, role: usize) -> String {
        match self.0[role].as_deref() {
            Some(name) if name != ROLES[role] => format!("the {} {name:?}", ROLES[role]),
            _ => format!("the {}", ROLES[role]),
        }
    }

    fn no_number(&self, role: usize, record: &Record<'_>) -> String {
        let text = record[role].as_deref().unwrap_or_default();
        format!("{} is {text:?}, not a number in range", self.name(role))
    }
}

fn usual<'a>(role: usize, names: &[&'a str]) -> Option<&'a str> {
    let find = |usual: &&str| names.iter().find(|name| name.eq_ignore_ascii_case(usual));
    USUAL[role].iter().find_map(find).copied()
}
