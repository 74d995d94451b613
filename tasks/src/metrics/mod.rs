//! How good recommendations are.
//!
//! [`Hits`] are where the true items are on one [`List`]; [`Scores`] are what each [`Metric`] makes
//! of them for many users, and a [`Comparison`] tells whether two systems' differ by more than
//! chance; [`Comparison::rank_correlation`] tells whether two figures order several systems alike.
//! [`Exposure`] looks at which items are recommended at all. [`Truth`] and [`Predictions`] read the
//! files of `semid eval`.
//!
//! ```
//! use semid_tasks::Part;
//! use semid_tasks::metrics::{Items, Metric, Predictions, Scores, Truth};
//!
//! let truth = br#"
//!     {"user": "ada", "items": ["lamp"]}
//!     {"user": "bob", "items": ["sofa"]}
//! "#;
//! let predictions = br#"
//!     {"user": "ada", "items": ["desk", "lamp"]}
//!     {"user": "bob", "items": ["sofa", "sofa"]}
//! "#;
//! let mut items = Items::default();
//! let truth = Truth::read("truth.jsonl", truth, Part::Test, &mut items)?;
//! let predictions = Predictions::read("predictions.jsonl", predictions, &truth, &mut items)?;
//!
//! let users = predictions.paired(&truth);
//! let scores = Scores::of(vec![Metric::HitRate(1), Metric::Mrr(10)], &users);
//! assert_eq!(scores.means(), [0.5, 0.75]);
//! # Ok::<(), semid_tasks::Error>(())
//! ```

mod exposure;
mod files;
mod hits;
mod items;
mod list;
mod rank_correlation;
mod scores;
mod significance;
mod slices;
mod training;

pub use exposure::Exposure;
pub use files::{Predictions, Truth, User};
pub use hits::{Hits, discount};
pub use items::Items;
pub use list::List;
pub use rank_correlation::RankCorrelation;
pub use scores::{Metric, Scores};
pub use significance::{Comparison, Difference, holm};
pub use slices::{BINS, TokenColdness, bin, slices};
pub use training::Training;
