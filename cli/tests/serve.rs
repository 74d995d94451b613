//! The service that recommends: right answers, whoever else asks and whatever they send.

mod desk;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use desk::{Desk, ITEMS, key};
use semantic_id::ItemIndex;
use serde_json::{Value, json};

/// A desk with a recommender in `rec`, which reads four items.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.index();
    desk.histories();
    desk.ok(
        "recommend train --interactions events.csv --index index.safetensors \
         --items items.jsonl --width 32 --layers 1 --history 4 --epochs 3 --out rec",
    );
    desk
}

/// A running service.
struct Service {
    process: Child,
    address: SocketAddr,
}

impl Service {
    fn start(desk: &Desk, arguments: &str) -> Self {
        let arguments = format!("recommend serve rec --addr 127.0.0.1:0 --json {arguments}");
        let mut command = desk.semid(&arguments);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("it starts");
        let mut line = String::new();
        let stdout = process.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let started: Value = serde_json::from_str(&line).expect("what it serves");
        assert_eq!(started["model"], "rec");
        let address = started["address"].as_str().expect("an address");
        let address = address.parse().expect("of a socket");
        Self { process, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        let limit = Some(Duration::from_secs(60));
        stream.set_read_timeout(limit).expect("a limit");
        stream
    }

    /// Status, head and body of what comes back for these bytes.
    fn raw(&self, request: &[u8]) -> (u16, String, String) {
        let mut stream = self.connect();
        // It may answer and close before it has read all.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).expect("UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).expect("a status");
        (
            status.parse().expect("a number"),
            head.to_owned(),
            body.to_owned(),
        )
    }

    fn get(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let (status, _, body) = self.raw(request.as_bytes());
        (status, body)
    }

    fn post(&self, path: &str, body: impl AsRef<[u8]>) -> (u16, Value) {
        let (status, _, body) = self.raw(&post(path, body.as_ref()));
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    fn ask(&self, ask: &Value) -> Value {
        let (status, answer) = self.post("/v1/recommend", ask.to_string());
        assert_eq!(status, 200, "{ask}: {answer}");
        answer
    }

    fn metric(&self, line: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        let mut lines = text.lines();
        let value = lines.find_map(|text| text.strip_prefix(line)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no {line} in {text}"));
        value.parse().expect("a number")
    }

    fn signal(&self, name: &str) {
        let process = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let mut log = String::new();
        let _ = self
            .process
            .stderr
            .take()
            .expect("piped")
            .read_to_string(&mut log);
        if !thread::panicking() {
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn keys(answer: &Value) -> Vec<&str> {
    let items = answer["items"].as_array().expect("items").iter();
    items
        .map(|item| item["key"].as_str().expect("a key"))
        .collect()
}

/// The same items, and the same scores but for the rounding of sums of another order.
fn assert_alike(one: &Value, other: &Value) {
    assert_eq!(keys(one), keys(other));
    assert_eq!(one["exact"], other["exact"]);
    let scores = |answer: &Value| {
        let items = answer["items"].as_array().expect("items").clone();
        items
            .into_iter()
            .map(|item| item["score"].as_f64().expect("a score"))
    };
    for (one, other) in scores(one).zip(scores(other)) {
        assert!((one - other).abs() < 1e-4, "{one} is not {other}");
    }
}

#[test]
fn it_answers_as_the_command_does() {
    let desk = desk();
    let service = Service::start(&desk, "");

    let answer = service.ask(&json!({ "history": ["item-3", "item-11"] }));
    let (expected, _) = desk.json("recommend query rec --history item-3,item-11");
    assert_alike(
        &answer,
        &json!({ "items": expected["hits"], "exact": expected["exact"] }),
    );
    assert_eq!(answer["items"][0]["id"], expected["hits"][0]["id"]);
    assert_eq!(answer["items"][0]["title"], expected["hits"][0]["title"]);
    assert_eq!(
        (&answer["generation"], &answer["dropped"]),
        (&0.into(), &0.into())
    );

    // What may not be given is not, and what may is found all the same.
    let first = keys(&answer)[0];
    let denied = service.ask(&json!({ "history": ["item-3", "item-11"], "deny": [first], "k": 3 }));
    let (expected, _) = desk.json(&format!(
        "recommend query rec --history item-3,item-11 --deny {first} -k 3"
    ));
    assert_alike(
        &denied,
        &json!({ "items": expected["hits"], "exact": expected["exact"] }),
    );
    let allowed = json!({ "history": ["item-3"], "allow": ["item-3", "item-7", "item-90", first],
        "deny": [first], "unknown": "refuse" });
    let of = |answer: &Value| {
        keys(answer)
            .into_iter()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        of(&service.ask(&allowed)),
        ["item-7", "item-90"].map(str::to_owned).into()
    );
    let nothing = service.ask(&json!({ "history": [], "allow": [] }));
    assert!(keys(&nothing).is_empty());

    // Five items are one more than the model reads; one is none.
    let history = ["item-1", "item-2", "nobody", "item-3", "item-4", "item-5"];
    let long = service.ask(&json!({ "history": history, "with_seen": true, "paths": true }));
    assert_eq!(
        (&long["unknown"], &long["dropped"]),
        (&json!(["nobody"]), &1.into())
    );
    let path = long["items"][0]["path"].as_array().expect("a path");
    let counts: Vec<u64> = path
        .iter()
        .map(|at| at["items"].as_u64().expect("a count"))
        .collect();
    assert!(
        counts.is_sorted_by(|a, b| a >= b) && counts[2] == 1,
        "{counts:?}"
    );
    let codes: String = path.iter().filter_map(|at| at["code"].as_str()).collect();
    assert_eq!(long["items"][0]["id"], codes.as_str());

    let (status, found) = service.get("/v1/items?q=THING%20%3Cb%3E1");
    assert_eq!(status, 200);
    let found: Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(found["items"].as_array().map(Vec::len), Some(20));
    assert_eq!(found["items"][0]["title"], "Thing <b>1</b>", "the shortest");
    let (_, exact) = service.get("/v1/items?q=item-7");
    assert!(
        exact.starts_with(r#"{"items":[{"key":"item-7","title":"#),
        "{exact}"
    );

    let (status, page) = service.get("/");
    assert!(status == 200 && page.starts_with("<!doctype html>"));
    assert_eq!(service.get("/health").0, 200);
    let (status, ready) = service.get("/ready");
    assert!(status == 200 && ready.contains(r#""items":120"#), "{ready}");
}

#[test]
fn those_who_ask_at_once_are_answered_as_if_alone() {
    let desk = desk();
    let service = Service::start(&desk, "--batch-wait-ms 200 --batch 16");
    let asks: Vec<Value> = (0..24)
        .map(|at| {
            let history: Vec<String> = (0..at % 7).map(|step| key(at + 8 * step)).collect();
            let deny = [key(at + 16), "nobody".to_owned()];
            json!({ "history": history, "deny": deny, "k": 1 + at % 3, "beams": 5 + 10 * (at % 2) })
        })
        .collect();
    let at_once: Vec<Value> = thread::scope(|scope| {
        let service = &service;
        let ask = |ask| scope.spawn(move || service.ask(ask));
        let running: Vec<_> = asks.iter().map(ask).collect();
        running
            .into_iter()
            .map(|one| one.join().expect("an answer"))
            .collect()
    });
    let searches = service.metric("semid_batch_size_count");
    assert!(searches < 24.0, "{searches} searches for 24 questions");
    for (ask, together) in asks.iter().zip(&at_once) {
        let alone = service.ask(ask);
        assert_alike(together, &alone);
        assert_eq!(together["dropped"], alone["dropped"]);
        assert!(!keys(together).contains(&ask["deny"][0].as_str().expect("a key")));
    }

    // All have been counted, and nobody waits.
    assert_eq!(service.metric("semid_batch_size_sum"), 48.0);
    let answered = r#"semid_requests_total{route="/v1/recommend",status="200"}"#;
    assert_eq!(service.metric(answered), 48.0);
    let timed = r#"semid_request_duration_seconds_count{route="/v1/recommend"}"#;
    assert_eq!(service.metric(timed), 48.0);
    assert_eq!(service.metric("semid_queue_length"), 0.0);
    assert_eq!(service.metric("semid_catalogue_items"), ITEMS as f64);
}

#[test]
fn bad_requests_are_refused_and_harm_nobody() {
    let desk = desk();
    let service = Service::start(&desk, "--max-body 10000 --timeout 2 --max-beams 100");
    let good = json!({ "history": ["item-3"] });
    let before = service.ask(&good);

    for (body, at, message) in [
        ("", "body", "EOF while parsing"),
        ("{", "body", "EOF while parsing"),
        ("{\"history\": []} x", "body", "trailing characters"),
        ("\u{feff}{}", "body", "expected value"),
        ("[]", "body", "invalid length 0"),
        ("{}", "body", "missing field `history`"),
        (r#"{"history": "item-3"}"#, "history", "expected a sequence"),
        (
            r#"{"history": ["item-3", 4]}"#,
            "history[1]",
            "integer `4`, expected a string",
        ),
        (r#"{"histroy": []}"#, "histroy", "unknown field"),
        (
            r#"{"history": [], "k": 0}"#,
            "k",
            "got 0, expected 1 to 100",
        ),
        (r#"{"history": [], "k": -1}"#, "k", "expected usize"),
        (r#"{"history": [], "k": 1e300}"#, "k", "expected usize"),
        (
            r#"{"history": [], "beams": 0}"#,
            "beams",
            "got 0, expected 1 to 100",
        ),
        (r#"{"history": [], "beams": 101}"#, "beams", "got 101"),
        (
            r#"{"history": [], "unknown": "ask"}"#,
            "unknown",
            "unknown variant",
        ),
        (
            r#"{"history": ["nobody"], "unknown": "refuse"}"#,
            "history",
            "got \"nobody\"",
        ),
        (
            r#"{"history": [], "deny": ["nobody"], "unknown": "refuse"}"#,
            "deny",
            "got \"nobody\"",
        ),
    ] {
        let (status, answer) = service.post("/v1/recommend", body);
        let error = &answer["error"];
        assert_eq!(
            (status, &error["where"]),
            (400, &at.into()),
            "{body}: {answer}"
        );
        assert_eq!(error["status"], 400);
        assert!(
            error["message"]
                .as_str()
                .expect("a message")
                .contains(message),
            "{answer}"
        );
    }
    let deep = "[".repeat(9000);
    assert_eq!(service.post("/v1/recommend", deep).0, 400);
    assert_eq!(service.post("/v1/recommend", [0xff, 0xfe, 0]).0, 400);
    let (status, answer) = service.post("/v1/recommend", vec![b' '; 10_001]);
    assert_eq!((status, &answer["error"]["where"]), (413, &"body".into()));
    assert_eq!(service.get("/v1/recommend").0, 405);
    assert_eq!(service.get("/v2").0, 404);
    assert_eq!(service.get("/v1/items").0, 400);

    // No HTTP at all; broken off in the head, in the body, and while the answer is made.
    let whole = post("/v1/recommend", good.to_string().as_bytes());
    for part in [
        &b"\x16\x03\x01\xff"[..],
        &whole[..20],
        &whole[..whole.len() - 5],
        &whole,
    ] {
        for _ in 0..20 {
            let mut stream = service.connect();
            stream.write_all(part).expect("it listens");
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
    // A body that does not come.
    let (status, head, _) = service.raw(&whole[..whole.len() - 5]);
    assert!(status == 503 && head.contains("retry-after: "), "{head}");

    assert_alike(&service.ask(&good), &before);
    assert_eq!(service.metric("semid_queue_length"), 0.0);
}

#[test]
fn too_many_are_told_to_come_again() {
    let desk = desk();
    let service = Service::start(&desk, "--queue 1 --batch 1");
    let request = post("/v1/recommend", br#"{"history": ["item-3"], "beams": 500}"#);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let ask = |_| scope.spawn(|| service.raw(&request));
        let running: Vec<_> = (0..64).map(ask).collect();
        let status = |one: thread::ScopedJoinHandle<'_, (u16, String, String)>| {
            let (status, head, _) = one.join().expect("an answer");
            assert_eq!(status == 503, head.contains("retry-after: 1"), "{head}");
            status
        };
        running.into_iter().map(status).collect()
    });
    assert!(
        statuses.iter().all(|status| [200, 503].contains(status)),
        "{statuses:?}"
    );
    assert!(
        statuses.contains(&200) && statuses.contains(&503),
        "{statuses:?}"
    );
    assert_eq!(service.metric("semid_queue_length"), 0.0);
}

/// The keys that each of some generations offers, by number.
fn offered(desk: &Desk, indexes: &[&str]) -> BTreeMap<u64, BTreeSet<String>> {
    let keys = |name: &&str| {
        let index = ItemIndex::open(desk.read(name)).expect("an index");
        let keys = index.living().expect("sound").into_iter();
        let keys = keys.map(|item| index.key(item).expect("a key").to_owned());
        (index.info().generation, keys.collect())
    };
    indexes.iter().map(keys).collect()
}

#[test]
fn generations_follow_each_other_under_load() {
    let desk = desk();
    let half: Vec<String> = (0..ITEMS).filter(|item| item % 2 == 0).map(key).collect();
    desk.write("gone.txt", half.join("\n"));
    desk.ok("remove index.safetensors --keys gone.txt --out first.safetensors");
    desk.ok("remove first.safetensors item-1 item-3 --out second.safetensors");
    let names = [
        "index.safetensors",
        "first.safetensors",
        "second.safetensors",
    ];
    let offered = offered(&desk, &names);
    desk.write("served", desk.read(names[0]));
    let service = Service::start(&desk, "--index served");

    let (ended, reload) = (AtomicBool::new(false), || {
        service.post("/v1/catalogue/reload", "")
    });
    let seen = thread::scope(|scope| {
        let asking = (0..4).map(|at: usize| {
            let (service, offered, ended) = (&service, &offered, &ended);
            scope.spawn(move || {
                let mut seen = BTreeSet::new();
                while !ended.load(Ordering::Relaxed) {
                    let deny = key(2 * at + 5);
                    let answer = service.ask(&json!({ "history": [key(at)], "deny": [deny] }));
                    let generation = answer["generation"].as_u64().expect("a generation");
                    let keys = keys(&answer);
                    assert_eq!(keys.len(), 10);
                    assert!(keys.iter().all(|key| offered[&generation].contains(*key)));
                    assert!(!keys.contains(&&*deny));
                    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 10, "none twice");
                    seen.insert(generation);
                }
                seen
            })
        });
        let asking: Vec<_> = asking.collect();
        // Written over in place, which a mapped file would not bear.
        for name in names.iter().cycle().take(12) {
            fs::copy(desk.path(name), desk.path("served")).expect("copied");
            let (status, now) = reload();
            assert_eq!(status, 200, "{now}");
            let generation = now["generation"].as_u64().expect("a generation");
            assert_eq!(now["items"], offered[&generation].len());
            thread::sleep(Duration::from_millis(100));
        }
        ended.store(true, Ordering::Relaxed);
        let seen = asking.into_iter().map(|one| one.join().expect("answers"));
        seen.flatten().collect::<BTreeSet<_>>()
    });
    assert_eq!(seen, [0, 1, 2].into());

    // What the model does not know, and what is no index, is not served.
    desk.ok("train emb.npy --preset rk-means --levels 3 --codes 16 --seed 9 --out other");
    desk.ok("index emb.npy --model other --out foreign.safetensors");
    let whole = desk.read(names[0]);
    let mut damaged = whole.clone();
    *damaged.last_mut().expect("bytes") ^= 1;
    for (bytes, reason) in [
        (desk.read("foreign.safetensors"), "does not fit the model"),
        (whole[..whole.len() / 2].to_vec(), "served: "),
        (damaged, "served: "),
        (Vec::new(), "served: "),
    ] {
        desk.write("served", bytes);
        let (status, answer) = reload();
        assert_eq!((status, &answer["error"]["where"]), (500, &"index".into()));
        let message = answer["error"]["message"].as_str().expect("a message");
        assert!(message.contains(reason), "{message}");
        assert_eq!(service.ask(&json!({ "history": [] }))["generation"], 2);
    }
    assert_eq!(service.metric(r#"semid_reloads_total{ok="true"}"#), 12.0);
    assert_eq!(service.metric(r#"semid_reloads_total{ok="false"}"#), 4.0);

    desk.write("served", desk.read(names[1]));
    service.signal("HUP");
    while service.ask(&json!({ "history": [] }))["generation"] != 1 {
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn it_ends_when_those_who_ask_are_answered() {
    let desk = desk();
    let mut service = Service::start(&desk, "--batch-wait-ms 1500");
    let idle = service.connect();
    let mut asking = service.connect();
    let request = post("/v1/recommend", br#"{"history": ["item-3"]}"#);
    asking.write_all(&request).expect("it listens");
    // Who connected later is answered: the question was taken.
    assert_eq!(service.get("/health").0, 200);
    service.signal("TERM");
    let mut answer = String::new();
    asking.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(service.process.wait().expect("it ends").success());
    assert!(TcpStream::connect(service.address).is_err());
    drop(idle);
}
