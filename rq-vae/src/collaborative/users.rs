use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use semantic_id::ItemId;

use super::check_items;
use crate::{Error, Result};

/// Users in the space of their items: the mean of each user's items, recent ones weighted more,
/// `[U, D]`; 0 for a user without events.
///
/// An event weighs half as much as one `half_life` places after it. `histories` are the events
/// of training, oldest first, over items with `embeddings` `[N, D]`. An index made of the result
/// is one of users (ULMRec and TTDS put user IDs beside item IDs). `O(E D)` for `E` events.
///
/// ```
/// use rq_vae::user_vectors;
/// use semantic_id::ItemId;
///
/// let items = ndarray::array![[1.0, 0.0], [0.0, 1.0]];
/// let (old, new) = (ItemId(0), ItemId(1));
/// let users = user_vectors(items.view(), &[&[old, new], &[new], &[]], 1.0)?;
/// assert_eq!(users, ndarray::array![[1.0 / 3.0, 2.0 / 3.0], [0.0, 1.0], [0.0, 0.0]]);
/// # Ok::<(), rq_vae::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Shape`] for an item without embedding, [`Error::Setting`] for a half-life that is not
/// above 0. It may be infinite: all events weigh the same.
pub fn user_vectors(
    embeddings: ArrayView2<'_, f32>,
    histories: &[&[ItemId]],
    half_life: f64,
) -> Result<Array2<f32>> {
    check_items(histories, embeddings.nrows())?;
    if half_life.is_nan() || half_life <= 0.0 {
        return Err(Error::Setting {
            name: "half_life",
            got: half_life.to_string(),
            expected: "above 0".to_owned(),
        });
    }
    let mut users = Array2::zeros((histories.len(), embeddings.ncols()));
    users
        .axis_iter_mut(Axis(0))
        .into_par_iter()
        .zip(histories)
        .for_each(|(mut user, events)| {
            let mut total = 0.0;
            for (age, item) in events.iter().rev().enumerate() {
                let weight = (-(age as f64) / half_life).exp2() as f32;
                user.scaled_add(weight, &embeddings.row(item.index()));
                total += weight;
            }
            if total > 0.0 {
                user /= total;
            }
        });
    Ok(users)
}
