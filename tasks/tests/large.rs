//! A hundred million events within 2 GB: run alone, and with `--run-ignored only --no-capture`.
//! What is printed is for `benches/README.md`; the limit of memory is the test.
#![cfg(target_os = "linux")]

use std::error::Error;
use std::io::Read;
use std::time::Instant;

use semantic_id::ItemKeys;
use semid_tasks::{
    Duplicates, EventOptions, Filter, HistoriesBuilder, HistoryOptions, Input, Split,
};

const EVENTS: u64 = 100_000_000;
const USERS: u64 = 2_000_000;
const ITEMS: u64 = 1_000_000;

/// A CSV file of events in no order at all, made as it is read.
struct Csv {
    lines: Vec<u8>,
    at: usize,
    made: u64,
}

impl Csv {
    fn new() -> Self {
        Self {
            lines: b"user_id,item_id,rating,timestamp\n".to_vec(),
            at: 0,
            made: 0,
        }
    }

    fn make(&mut self) {
        self.lines.clear();
        self.at = 0;
        for event in self.made..EVENTS.min(self.made + 4096) {
            let [user, item, time] = [1, 2, 3].map(|salt| mix(event * 3 + salt));
            // The square of a share is skewed to the first items.
            let item = (item >> 40).pow(2) / ((1 << 48) / ITEMS + 1);
            let time = 1_000_000_000 + time % 500_000_000;
            let line = format!("u{},B{item},{},{time}\n", user % USERS, 1 + event % 5);
            self.lines.extend_from_slice(line.as_bytes());
        }
        self.made += 4096;
    }
}

impl Read for Csv {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.lines.len() {
            self.make();
        }
        let read = (&self.lines[self.at..]).read(out)?;
        self.at += read;
        Ok(read)
    }
}

/// The finalizer of MurmurHash3.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

/// The most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    kilobytes.expect("VmHWM").parse::<u64>().expect("a number") * 1024
}

#[test]
#[ignore = "minutes, and 2 GB each of memory and temporary files"]
fn a_hundred_million_events_need_less_than_2_gb() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let said = |what: &str| {
        let seconds = start.elapsed().as_secs_f64();
        println!("{what}: {seconds:.1} s, peak {} MB", peak() / 1_000_000);
    };
    let items = ItemKeys::new((0..ITEMS).map(|item| format!("B{item}"))).expect("distinct");
    said("items");
    let mut builder = HistoriesBuilder::new(&items, HistoryOptions::default());
    let csv = Input::Stream(Box::new(Csv::new()));
    builder.read("events.csv", csv, &EventOptions::default())?;
    said("read");
    let histories = builder.finish()?;
    said("sorted");
    assert_eq!(histories.events() as u64, EVENTS);
    let filter = Filter {
        duplicates: Duplicates::First,
        core: [5, 5],
        window: Some(50),
    };
    let (histories, filtering) = histories.filter(&filter)?;
    said("filtered");
    println!("{filtering:?}");
    let split = Split::by_time(&histories, [8, 1, 1])?;
    said("split");
    println!("{:?}", split.leakage(&histories));
    println!("{:?}", Split::leave_one_out(&histories).leakage(&histories));
    said("leakage");
    assert!(peak() < 2_000_000_000, "{} bytes", peak());
    Ok(())
}
