use super::*;
use crate::{Catalogue, Event, EventOptions, ItemOptions, Result};

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

/// DEALRec's way: a file for each part, with the same users.
#[test]
fn a_split_can_be_given() -> Result<()> {
    let items = ten();
    let mut builder = HistoriesBuilder::new(&items, HistoryOptions::default());
    let options = EventOptions::default();
    let parts = [
        (
            Part::Test,
            "test.json",
            r#"{"0": [4], "1": [9, 8], "2": []}"#,
        ),
        (
            Part::Train,
            "train.json",
            r#"{"0": [1, 2], "1": [], "2": [5]}"#,
        ),
        (
            Part::Valid,
            "valid.json",
            r#"{"0": [3], "1": [7], "2": []}"#,
        ),
    ];
    for (part, file, text) in parts {
        builder.read_part(part, file, text.as_bytes(), &options)?;
    }
    let histories = builder.finish()?;
    assert_eq!(rows(&histories), ["0: 1 2 3 4", "1: 7 9 8", "2: 5"]);
    let split = Split::given(&histories)?;
    let targets = |user| Part::ALL.map(|part| split.targets(UserId(user), part));
    assert_eq!(targets(0), [1..2, 2..3, 3..4]);
    // Nothing is before user 1's first event.
    assert_eq!(targets(1), [1..1, 1..1, 1..3]);
    assert_eq!(targets(2), [1..1, 1..1, 1..1]);
    assert_eq!(split.without_test(), 1);
    assert_eq!(split.leakage(&histories), None);

    let filter = Filter {
        core: [2, 0],
        window: Some(3),
        ..Filter::default()
    };
    let (histories, filtering) = histories.filter(&filter)?;
    assert_eq!(rows(&histories), ["0: 2 3 4", "1: 7 9 8"]);
    assert_eq!(
        (filtering.core, filtering.window, filtering.users),
        (1, 1, 1)
    );
    let split = Split::given(&histories)?;
    assert_eq!(
        (split.train_end(UserId(0)), split.valid_end(UserId(0))),
        (1, 2)
    );
    assert_eq!(
        (split.train_end(UserId(1)), split.valid_end(UserId(1))),
        (0, 1)
    );
    Ok(())
}

#[test]
fn splits_by_time_cut_all_users_at_once() -> Result<()> {
    let histories = histories([
        event("a", "0", 1),
        event("a", "1", 2),
        event("a", "2", 5),
        event("b", "3", 3),
        event("b", "4", 4),
        event("b", "5", 5),
        event("c", "6", 6),
    ])?;
    let ends = |split: &Split| -> Vec<_> {
        let ends = |user| (split.train_end(user), split.valid_end(user));
        histories.users().map(ends).collect()
    };
    let split = Split::at_times(&histories, 3 * DAY, 5 * DAY)?;
    assert_eq!(ends(&split), [(2, 2), (0, 2), (0, 0)]);
    assert_eq!(split.without_test(), 1);
    // Targets are on the days 2, 4, 5 and 5.
    let by_time = Split::by_time(&histories, [1, 1, 2])?;
    assert_eq!(by_time, Split::at_times(&histories, 4 * DAY, 5 * DAY)?);
    let all = Split::by_time(&histories, [1, 0, 0])?;
    assert_eq!(ends(&all), [(3, 3), (3, 3), (1, 1)]);
    let by_user = Split::by_user(&histories, [1, 1, 1])?;
    assert_eq!(ends(&by_user), [(1, 2), (1, 2), (1, 1)]);
    Ok(())
}

#[test]
fn leakage_counts_what_training_knows_too_early() -> Result<()> {
    let histories = histories([
        event("a", "0", 1),
        event("a", "1", 2),
        event("a", "2", 3),
        event("a", "3", 4),
        event("b", "4", 1),
        event("b", "5", 5),
        event("b", "6", 7),
        event("b", "7", 8),
    ])?;
    // Training targets on the days 2 and 5, tests on 4 and 8.
    let leakage = Split::leave_one_out(&histories).leakage(&histories);
    let expected = Leakage {
        after_first_test: 0.5,
        per_test: 0.25,
    };
    assert_eq!(leakage, Some(expected));
    let temporal = Split::at_times(&histories, 3 * DAY, 4 * DAY)?;
    let leakage = temporal.leakage(&histories).expect("there are times");
    assert_eq!((leakage.after_first_test, leakage.per_test), (0.0, 0.0));
    Ok(())
}

#[test]
fn what_cannot_be_is_an_error() -> Result<()> {
    let message = |result: Result<Histories>| result.expect_err("bad").to_string();
    assert_eq!(message(histories([])), "histories: there are no events");
    assert_eq!(
        message(histories([event("a", "1", 0), event("a", "10", 0)])),
        "events, event 2: the item \"10\" is not in the catalogue; skip unknown items, or add it"
    );
    let without_time = Event {
        micros: None,
        ..event("a", "1", 0)
    };
    assert_eq!(
        message(histories([event("a", "1", 0), without_time])),
        "events, event 2: no time, but the events before have one"
    );
    let not_a_number = Event {
        rating: Some(f32::NAN),
        ..without_time
    };
    assert_eq!(
        message(histories([not_a_number])),
        "events, event 1: the rating is NaN, not finite"
    );

    let untimed = histories([without_time])?;
    let message = |result: Result<Split>| result.expect_err("bad").to_string();
    assert_eq!(
        message(Split::by_time(&untimed, [8, 1, 1])),
        "histories: a split by time needs times; these histories have none"
    );
    assert_eq!(
        message(Split::by_user(&untimed, [0; 3])),
        "histories: the shares of all parts are 0"
    );
    assert_eq!(
        message(Split::at_times(&untimed, 1, 0)),
        "histories: validation begins at 1, after the test at 0"
    );
    assert_eq!(
        message(Split::given(&untimed)),
        "histories: no split is given: read one file for each part"
    );
    let filter = Filter {
        core: [2, 2],
        ..Filter::default()
    };
    let error = untimed.filter(&filter).expect_err("nothing is left");
    assert_eq!(error.to_string(), "histories: the filter leaves no events");
    Ok(())
}

#[test]
fn unknown_items_can_be_skipped() -> Result<()> {
    let items = ten();
    let options = HistoryOptions {
        unknown_items: UnknownItems::Skip,
        ..HistoryOptions::default()
    };
    let mut builder = HistoriesBuilder::new(&items, options);
    builder.read(
        "x.csv",
        &b"user,item\na,1\nb,99\na,x\na,2\n"[..],
        &EventOptions::default(),
    )?;
    let histories = builder.finish()?;
    assert_eq!(rows(&histories), ["a: 1 2"]);
    assert_eq!(histories.unknown_skipped(), 2);
    Ok(())
}

/// The slow, obvious ways.
mod against_oracles {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Of each event its user, item and time in microseconds.
    type Events = Vec<(u8, u8, i64)>;

    fn events() -> impl Strategy<Value = Events> {
        prop::collection::vec((0..12_u8, 0..10_u8, -3_000_000..3_000_000_i64), 1..200)
    }

    fn build(events: &Events, memory: usize) -> Histories {
        let items = ten();
        let options = HistoryOptions {
            memory,
            ..HistoryOptions::default()
        };
        let mut builder = HistoriesBuilder::new(&items, options);
        for (user, item, micros) in events {
            let event = Event {
                user: &user.to_string(),
                item: &item.to_string(),
                micros: Some(*micros),
                rating: Some(f32::from(*item)),
            };
            builder.push(event).expect("a good event");
        }
        builder.finish().expect("not empty")
    }

    /// Users with their items, from a stable sort of all events.
    fn sorted(events: &Events) -> BTreeMap<u8, Vec<u8>> {
        let mut events = events.clone();
        events.sort_by_key(|&(user, _, micros)| (user, micros));
        let mut users = BTreeMap::<u8, Vec<u8>>::new();
        for (user, item, _) in events {
            users.entry(user).or_default().push(item);
        }
        users
    }

    fn unpacked(histories: &Histories) -> BTreeMap<u8, Vec<u8>> {
        let row = |user| {
            let items = histories.items(user).iter().map(|item| item.0 as u8);
            (
                histories.key(user).parse().expect("a number"),
                items.collect(),
            )
        };
        histories.users().map(row).collect()
    }

    proptest! {
        #[test]
        fn rows_are_sorted_whatever_the_memory(events in events(), memory in 0..5000_usize) {
            let histories = build(&events, memory);
            prop_assert_eq!(unpacked(&histories), sorted(&events));
            for user in histories.users() {
                prop_assert!(histories.times(user).expect("times").is_sorted());
                let items = histories.items(user).iter();
                let same = |(item, &rating): (&ItemId, &f32)| item.0 as f32 == rating;
                prop_assert!(items.zip(histories.ratings(user).expect("ratings")).all(same));
            }
        }

        #[test]
        fn filters_are_those_of_plain_lists(
            events in events(),
            duplicates in prop::sample::select(vec![
                Duplicates::Keep,
                Duplicates::First,
                Duplicates::Consecutive,
            ]),
            core in [0..6_u32, 0..20_u32],
            window in prop::option::of(1..9_usize),
        ) {
            let mut users = sorted(&events);
            for items in users.values_mut() {
                match duplicates {
                    Duplicates::Keep => {}
                    Duplicates::First => {
                        let all = items.clone();
                        let mut at = 0;
                        items.retain(|item| {
                            at += 1;
                            !all[..at - 1].contains(item)
                        });
                    }
                    Duplicates::Consecutive => items.dedup(),
                }
            }
            loop {
                let before = users.clone();
                users.retain(|_, items| items.len() >= core[0] as usize);
                let all: Vec<u8> = users.values().flatten().copied().collect();
                let count = |item| all.iter().filter(|&&other| other == item).count();
                for items in users.values_mut() {
                    items.retain(|&item| count(item) >= core[1] as usize);
                }
                if users == before {
                    break;
                }
            }
            for items in users.values_mut() {
                items.drain(..items.len().saturating_sub(window.unwrap_or(usize::MAX)));
            }
            users.retain(|_, items| !items.is_empty());

            let histories = build(&events, 0);
            let before = (histories.events(), histories.len());
            match histories.filter(&Filter { duplicates, core, window }) {
                Err(_) => prop_assert!(users.is_empty()),
                Ok((histories, filtering)) => {
                    prop_assert_eq!(unpacked(&histories), users);
                    let taken = filtering.duplicates + filtering.core + filtering.window;
                    prop_assert_eq!(histories.events() + taken, before.0);
                    prop_assert_eq!(histories.len() + filtering.users, before.1);
                }
            }
        }

        #[test]
        fn splits_by_time_and_leakage_are_those_of_a_sort(
            events in events(),
            shares in [0..9_u32, 0..9_u32, 1..9_u32],
        ) {
            let histories = build(&events, 0);
            let targets = |split: &Split, part| -> Vec<i64> {
                let of = |user| &histories.times(user).expect("times")[split.targets(user, part)];
                histories.users().flat_map(of).copied().collect()
            };
            let split = Split::by_time(&histories, shares).expect("times");
            let [train, valid, test] = Part::ALL.map(|part| targets(&split, part));
            let before = |a: &[i64], b: &[i64]| a.iter().max() < b.iter().min();
            prop_assert!(one_is_empty(&train, &valid) || before(&train, &valid));
            prop_assert!(one_is_empty(&valid, &test) || before(&valid, &test));
            let all = train.len() + valid.len() + test.len();
            let due = all * shares[0] as usize / shares.iter().sum::<u32>() as usize;
            prop_assert!(train.len() <= due);

            let split = Split::leave_one_out(&histories);
            let [train, _, test] = Part::ALL.map(|part| targets(&split, part));
            let Some(leakage) = split.leakage(&histories) else {
                prop_assert!(one_is_empty(&train, &test));
                return Ok(());
            };
            let share = |test: &i64| {
                train.iter().filter(|&time| time > test).count() as f64 / train.len() as f64
            };
            let per_test = test.iter().map(share).sum::<f64>() / test.len() as f64;
            prop_assert!((leakage.per_test - per_test).abs() < 1e-12);
            let first = test.iter().min().expect("a test");
            prop_assert_eq!(leakage.after_first_test, share(first));
        }
    }

    fn one_is_empty(a: &[i64], b: &[i64]) -> bool {
        a.is_empty() || b.is_empty()
    }
}

/// The files of other projects, where `SEMID_DATA` has them.
#[test]
fn real_files_are_read() -> Result<()> {
    let Some(data) = std::env::var_os("SEMID_DATA") else {
        println!("SEMID_DATA is not set: real files are not read");
        return Ok(());
    };
    let data = std::path::Path::new(&data);
    let keys = |file: &str| -> Result<ItemKeys> {
        let bytes = std::fs::read(data.join(file)).expect(file);
        let catalogue = Catalogue::read(file, &bytes, &ItemOptions::default())?;
        Ok(catalogue.keys().clone())
    };
    let open = |file: &str| std::fs::File::open(data.join(file)).expect(file);
    let options = EventOptions::default();
    let files = [
        (
            "ml-100k/ml-100k.item",
            "ml-100k/ml-100k.inter",
            943,
            100_000,
        ),
        (
            "scientific/Scientific.item.json",
            "scientific/Scientific.inter.json",
            8317,
            58_492,
        ),
        (
            "games/Games.item.json",
            "games/Games.inter.json",
            50_546,
            452_989,
        ),
    ];
    for (items, inter, users, events) in files {
        let items = keys(items)?;
        let mut builder = HistoriesBuilder::new(&items, HistoryOptions::default());
        builder.read(inter, open(inter), &options)?;
        let histories = builder.finish()?;
        assert_eq!(
            (histories.len(), histories.events()),
            (users, events),
            "{inter}"
        );
        let split = Split::leave_one_out(&histories);
        assert_eq!(split.without_test(), 0, "{inter}");
        if let Some(leakage) = split.leakage(&histories) {
            println!("{inter}: {leakage:?}");
            assert!(leakage.per_test > 0.0);
        }
    }

    let items = keys("dealrec-games-temporal/item.json")?;
    let mut builder = HistoriesBuilder::new(&items, HistoryOptions::default());
    for part in Part::ALL {
        let file = format!("dealrec-games-temporal/{part}.json");
        builder.read_part(part, &file, open(&file), &options)?;
    }
    let histories = builder.finish()?;
    assert_eq!((histories.len(), histories.events()), (49_156, 342_329));
    let split = Split::given(&histories)?;
    let ends = |user| {
        (
            split.train_end(user),
            split.valid_end(user),
            histories.items(user).len(),
        )
    };
    println!("dealrec: {:?}", ends(histories.find("16").expect("a user")));
    Ok(())
}
