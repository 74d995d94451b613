//! Every reader against damaged files: the seeds of the fuzz targets, cut, flipped and spliced.
#![cfg(feature = "parquet")]

use std::fs;
use std::sync::Arc;

use arrow_array::{FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use damage::{folder, survives};
use ndarray::Array2;
use parquet::arrow::ArrowWriter;
use rq_vae::{
    CollaborativeVectors, Encoder, FusedSpace, Fusion, FusionSource, Preset, RqVaeParams, npy,
};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use semantic_id::ItemId;

#[expect(unreachable_pub, reason = "public to the fuzz targets")]
#[path = "../../fuzz/bodies/rq_vae.rs"]
mod bodies;
#[expect(unreachable_pub, reason = "shared between crates")]
#[path = "../../fuzz/bodies/damage.rs"]
mod damage;

#[test]
fn embedding_files() {
    survives("embeddings", bodies::embeddings);
}

#[test]
fn model_files() {
    survives("model", bodies::model);
}

#[test]
fn fusion_files() {
    survives("fusion", bodies::fusion);
}

/// Run with `cargo nextest run -p rq-vae --features parquet --run-ignored only`.
#[test]
#[ignore = "writes the seeds anew"]
fn write_seeds() {
    let x = Array2::from_shape_fn((5, 3), |(row, column)| row as f32 - 0.5 * column as f32);
    for (name, bytes) in [
        ("small.npy", npy(x.view())),
        ("small.safetensors", safetensors_file(&x)),
        ("small.parquet", parquet_file(&x)),
    ] {
        fs::create_dir_all(folder("embeddings")).expect("writable");
        fs::write(folder("embeddings").join(name), bytes).expect("writable");
    }

    let histories = [[0, 1, 2], [1, 2, 3]].map(|items| items.map(ItemId));
    let histories = histories.each_ref().map(|items| &items[..]);
    let vectors = CollaborativeVectors::learn(&histories, 5, 2, 2, 0).expect("there are pairs");
    let source = FusionSource {
        embeddings: x.view(),
        weight: 1.0,
    };
    let (fusion, _) = Fusion::learn(&[source; 2], &vectors, 1.0, FusedSpace::Principal(2))
        .expect("sources agree");
    fs::create_dir_all(folder("fusion")).expect("writable");
    fs::write(folder("fusion").join("two"), fusion.to_bytes()).expect("writable");

    let params = RqVaeParams {
        levels: 2,
        codes: 3,
        ..RqVaeParams::preset(Preset::RkMeans)
    };
    let config = params.check().expect("sound settings");
    let kmeans = Encoder::residual_kmeans(&config, x.view(), |_| ()).expect("there are items");
    let (model, config) = kmeans.to_files();
    fs::create_dir_all(folder("model")).expect("writable");
    fs::write(folder("model").join("kmeans"), seed(&config, &model)).expect("writable");
    fs::write(folder("model").join("network"), network(&config)).expect("writable");
}

/// The configuration on one line, then the tensors.
fn seed(config: &str, model: &[u8]) -> Vec<u8> {
    let config: serde_json::Value = serde_json::from_str(config).expect("our own output");
    [format!("{config}\n").as_bytes(), model].concat()
}

/// A network of two layers, in the skip form.
fn network(config: &str) -> Vec<u8> {
    let mut config: serde_json::Value = serde_json::from_str(config).expect("our own output");
    let mut tensors = vec![("mean".to_owned(), vec![3]), ("scale".to_owned(), vec![1])];
    for name in ["encoder", "decoder"] {
        config[name] = serde_json::json!({ "layers": 2, "skip": true });
        for (layer, (output, input)) in [(2, 3), (3, 2)].into_iter().enumerate() {
            tensors.push((format!("{name}.{layer}.weight"), vec![output, input]));
            tensors.push((format!("{name}.{layer}.bias"), vec![output]));
        }
    }
    tensors.extend((0..2).map(|level| (format!("codebook.{level}"), vec![3, 3])));
    let values: Vec<u8> = (1..10).flat_map(|x| (x as f32).to_le_bytes()).collect();
    let views = tensors.into_iter().map(|(name, shape)| {
        let bytes = &values[..4 * shape.iter().product::<usize>()];
        let view = TensorView::new(Dtype::F32, shape, bytes).expect("sizes agree");
        (name, view)
    });
    let model = safetensors::serialize(views, None).expect("names are distinct");
    seed(&config.to_string(), &model)
}

fn safetensors_file(x: &Array2<f32>) -> Vec<u8> {
    let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![x.nrows(), x.ncols()], &bytes);
    let views = [("embeddings", view.expect("sizes agree"))];
    safetensors::serialize(views, None).expect("one name")
}

fn parquet_file(x: &Array2<f32>) -> Vec<u8> {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let list = DataType::FixedSizeList(item.clone(), 3);
    let values = Arc::new(Float32Array::from_iter_values(x.iter().copied()));
    let lists = FixedSizeListArray::try_new(item, 3, values, None).expect("whole rows");
    let keys = StringArray::from_iter_values((0..x.nrows()).map(|row| format!("item{row}")));
    let schema = Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("embedding", list, false),
    ]));
    let columns: Vec<arrow_array::ArrayRef> = vec![Arc::new(keys), Arc::new(lists)];
    let batch = RecordBatch::try_new(schema.clone(), columns).expect("columns agree");
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, schema, None).expect("a sound schema");
    writer.write(&batch).expect("memory can be written");
    writer.close().expect("memory can be written");
    file
}
