/// One interaction of a user with an item, as a file tells it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event<'a> {
    /// The user's key.
    pub user: &'a str,
    /// The item's key.
    pub item: &'a str,
    /// When it was, in microseconds since 1970.
    pub micros: Option<i64>,
    /// How the user liked it; finite.
    pub rating: Option<f32>,
}
