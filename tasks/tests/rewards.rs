//! Rewards against golden vectors and plain oracles.

use proptest::prelude::*;
use semantic_id::{Code, SemanticId, TokenFormat};
use semid_tasks::Error;
use semid_tasks::rewards::{AnswerFormat, Ladder, Reward};

fn id(codes: &[u16]) -> SemanticId {
    codes.iter().copied().map(Code).collect()
}

/// A group of answers, each an ID or nothing.
fn group(answers: &[&[u16]]) -> Vec<Option<SemanticId>> {
    let answer = |codes: &&[u16]| (!codes.is_empty()).then(|| id(codes));
    answers.iter().map(answer).collect()
}

#[test]
fn an_answer_is_worth_what_it_hits() {
    let truth = [id(&[1, 2, 3])];
    let group = group(&[&[1, 2, 3], &[1, 2, 4], &[1, 2, 3], &[], &[1, 2]]);
    assert_eq!(Reward::Rule.of(&group, &truth), [1.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(Reward::Format.of(&group, &truth), [1.0, 1.0, 1.0, 0.0, 1.0]);
    // A list has a true item once.
    let hits = Reward::RankHit.of(&group, &truth);
    assert_eq!(hits, [1.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn ladders_go_by_the_codes_that_agree() {
    let truth = id(&[1, 2, 3, 4, 5]);
    let scores = |ladder: &Ladder, truth: &SemanticId| {
        let answers = [
            id(&[9, 2, 3, 4, 5]),
            id(&[1, 9, 3, 4, 5]),
            id(&[1, 2, 9, 4, 5]),
            id(&[1, 2, 3, 9, 5]),
            id(&[1, 2, 3, 4, 9]),
            id(&[1, 2, 3, 4, 5]),
        ];
        answers.map(|answer| ladder.score(&answer, truth))
    };
    let gream = scores(&Ladder::gream(), &truth);
    assert_eq!(gream, [0.0, 0.5, 0.707, 0.866, 0.95, 1.0]);

    let one_rec = Ladder::open_one_rec();
    let truth = id(&[1, 2, 3]);
    let answers = [
        id(&[0, 2, 3]),
        id(&[1, 0, 3]),
        id(&[1, 2, 0]),
        id(&[1, 2, 3]),
    ];
    let scores = answers.map(|answer| one_rec.score(&answer, &truth));
    assert_eq!(scores, [0.0, 1.0, 10.0, 100.0]);

    // The beginning of the true ID is not the true ID.
    assert_eq!(Ladder::gream().score(&id(&[1, 2]), &truth), 0.707);
    assert_eq!(Ladder::gream().score(&id(&[1, 2, 3, 4]), &truth), 0.866);
    // The best of several.
    let truths = [id(&[1, 2, 3]), id(&[4, 5, 6])];
    let group = group(&[&[4, 5, 0], &[]]);
    let own = Ladder::new(&[1.0, 3.0], 7.0).expect("finite");
    assert_eq!(Reward::Prefix(own).of(&group, &truths), [3.0, 0.0]);

    let refused = Ladder::new(&[0.5, f64::NAN], 1.0).expect_err("no number");
    assert!(matches!(refused, Error::Ladder { got } if got.is_nan()));
}

/// The figures of MiniOneRec's and ReRe's groups of 16.
#[test]
fn misses_of_a_group_with_a_hit_cost_by_rank() {
    let truth = [id(&[7])];
    let mut answers = vec![Some(id(&[8])); 16];
    assert_eq!(
        Reward::RankPenalty.of(&answers, &truth),
        [0.0; 16],
        "no hit"
    );

    answers[3] = Some(id(&[7]));
    answers[5] = None;
    let rewards = Reward::RankPenalty.of(&answers, &truth);
    for (rank, golden) in [
        (0, -0.1638),
        (1, -0.1033),
        (2, -0.0819),
        (3, 1.0),
        (5, -0.0583),
        (15, -0.0401),
    ] {
        let got = rewards[rank];
        assert!((got - golden).abs() < 5e-5, "rank {rank}: {got}, {golden}");
    }
    // With that of the hit's rank, the penalties would sum to -1.
    let misses: f64 = rewards.iter().filter(|&&reward| reward < 0.0).sum();
    assert!(
        (misses - 0.1638 / 5_f64.log2() + 1.0).abs() < 1e-4,
        "{misses}"
    );
}

#[test]
fn gains_of_a_list_look_from_each_place_on() {
    let truths = [id(&[1]), id(&[2])];
    let list = group(&[&[9], &[1], &[], &[2], &[1]]);
    assert_eq!(
        Reward::RankHit.of(&list, &truths),
        [0.0, 1.0, 0.0, 1.0, 0.0]
    );
    let (second, fourth) = (1.0 / 3_f64.log2(), 1.0 / 5_f64.log2());
    let expected = [second + fourth, second + fourth, fourth, fourth, 0.0];
    let gains = Reward::RankDcg.of(&list, &truths);
    for (got, expected) in gains.iter().zip(expected) {
        assert!((got - expected).abs() < 1e-12, "{gains:?}");
    }
}

#[test]
fn texts_are_read_as_strictly_as_they_are_asked_for() {
    let tokens = TokenFormat::lc_rec(3);
    let plain = AnswerFormat::plain(&tokens);
    let reasoned = AnswerFormat::reasoned(&tokens);
    let whole = Some(id(&[1, 2, 3]));
    for text in [
        "<a_1><b_2><c_3>",
        " <a_1> <b_2> <c_3>\n",
        "<a_1><b_2><c_3><|im_end|>\n<|endoftext|>",
    ] {
        assert_eq!(plain.read(text), whole, "{text:?}");
        assert_eq!(reasoned.read(text), None, "{text:?}");
    }
    for text in [
        "",
        "<a_1><b_2>",
        "<b_2><a_1><c_3>",
        "<a_1><b_2><c_3><c_4>",
        "x<a_1><b_2><c_3>",
    ] {
        assert_eq!(plain.read(text), None, "{text:?}");
    }
    assert_eq!(plain.at_least(2).read("<a_1><b_2>"), Some(id(&[1, 2])));
    assert_eq!(plain.at_least(0).read(""), None);

    let answer = "<answer><a_1><b_2><c_3></answer>";
    for thought in [
        "<think>A lamp, or <a_9>?</think>\n",
        "that comes from the prompt</think>",
    ] {
        assert_eq!(
            reasoned.read(&format!("{thought}{answer}<|im_end|>")),
            whole
        );
        assert_eq!(
            reasoned.read(&format!("{thought}{answer} and {answer}")),
            None
        );
        assert_eq!(reasoned.read(&format!("{thought}so {answer}")), None);
    }
    assert_eq!(reasoned.read(answer), None);

    let tokens = TokenFormat::open_one_rec(2);
    let text = "<|sid_begin|><s_a_1><s_b_2><|sid_end|>";
    assert_eq!(AnswerFormat::plain(&tokens).read(text), Some(id(&[1, 2])));
}

proptest! {
    #[test]
    fn every_answer_has_a_reward_within_bounds(
        answers in prop::collection::vec(prop::option::of(prop::collection::vec(0_u16..3, 1..4)), 0..20),
        truths in prop::collection::vec(prop::collection::vec(0_u16..3, 1..4), 0..4),
    ) {
        let group: Vec<_> = answers.iter().map(|answer| answer.as_deref().map(id)).collect();
        let truths: Vec<_> = truths.iter().map(|codes| id(codes)).collect();
        for (reward, low, high) in [
            (Reward::Rule, 0.0, 1.0),
            (Reward::Prefix(Ladder::gream()), 0.0, 1.0),
            (Reward::RankPenalty, -1.0, 1.0),
            (Reward::RankHit, 0.0, 1.0),
            (Reward::RankDcg, 0.0, 4.0),
            (Reward::Format, 0.0, 1.0),
        ] {
            let rewards = reward.of(&group, &truths);
            prop_assert_eq!(rewards.len(), group.len());
            prop_assert!(rewards.iter().all(|x| (low..=high).contains(x)), "{:?}: {:?}", reward, rewards);
        }
    }

    #[test]
    fn any_text_is_read_without_harm(text in ".{0,40}|(<(think|/think|answer|/answer|[abc]_[0-9]{1,6})>){0,8}") {
        let tokens = TokenFormat::lc_rec(3);
        for format in [AnswerFormat::plain(&tokens), AnswerFormat::reasoned(&tokens)] {
            if let Some(id) = format.read(&text) {
                prop_assert!(text.contains(&tokens.text(&id)));
            }
        }
    }
}
