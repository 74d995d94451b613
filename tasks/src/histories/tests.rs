use super::*;
use crate::{Event, Result};

const DAY: i64 = 86_400;

fn event<'a>(user: &'a str, item: &'a str, day: i64) -> Event<'a> {
    Event {
        user,
        item,
        micros: Some(day * DAY * 1_000_000),
        rating: None,
    }
}

/// Items "0" to "9".
fn ten() -> ItemKeys {
    ItemKeys::numbered(10).expect("ten")
}

fn histories<'a>(events: impl IntoIterator<Item = Event<'a>>) -> Result<Histories> {
    let items = ten();
    let mut builder = HistoriesBuilder::new(&items, HistoryOptions::default());
    for event in events {
        builder.push(event)?;
    }
    builder.finish()
}

/// Each user's items, as one text.
fn rows(histories: &Histories) -> Vec<String> {
    let row = |user| {
        let items = histories.items(user).iter().map(ToString::to_string);
        let items: Vec<_> = items.collect();
        format!("{}: {}", histories.key(user), items.join(" "))
    };
    histories.users().map(row).collect()
}

/// Events come in any order; rows are by user, and within a row by time.
#[test]
fn events_become_rows_in_order_of_time() -> Result<()> {
    let histories = histories([
        event("10", "3", 5),
        event("9", "1", 4),
        event("10", "7", 1),
        event("9", "2", 4),
        event("10", "5", 3),
    ])?;
    assert_eq!(rows(&histories), ["9: 1 2", "10: 7 5 3"]);
    let (nine, ten) = (UserId(0), UserId(1));
    assert_eq!(histories.find("10"), Some(ten));
    assert_eq!(histories.times(ten), Some(&[DAY, 3 * DAY, 5 * DAY][..]));
    assert_eq!(histories.ratings(nine), None);

    let split = Split::leave_one_out(&histories);
    assert_eq!(
        Part::ALL.map(|part| split.targets(ten, part)),
        [1..1, 1..2, 2..3]
    );
    assert_eq!(
        Part::ALL.map(|part| split.targets(nine, part)),
        [1..2, 2..2, 2..2]
    );
    assert_eq!(split.without_test(), 1);
    Ok(())
}
