//! What is held of every reader of `rq-vae`, whatever the bytes: no panic, and
//! what was read gives answers of the promised shape.

use ndarray::Array2;
use rq_vae::{Embeddings, Encoder, Fusion};

/// Opens an embedding file of any format and reads rows at its ends.
pub fn embeddings(bytes: &[u8]) {
    let Ok(embeddings) = Embeddings::open(bytes) else {
        return;
    };
    let (items, dim) = (embeddings.len(), embeddings.dim());
    assert!(items > 0 && dim > 0);
    for range in [0..0, 0..1, items - 1..items, items..items] {
        let count = range.len();
        if let Ok(rows) = embeddings.rows(range) {
            assert_eq!(rows.dim(), (count, dim));
            assert!(rows.iter().all(|value| value.is_finite()));
        }
    }
    assert!(embeddings.rows(items - 1..items + 1).is_err());
    if let (Ok(all), Some(keys)) = (embeddings.all(), embeddings.keys()) {
        assert_eq!(all.nrows(), keys.len());
    }
}

/// The first line is a model's `config.json`, the rest its `model.safetensors`.
pub fn model(bytes: &[u8]) {
    let end = bytes.iter().position(|&byte| byte == b'\n');
    let (config, model) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
    let Ok(encoder) = Encoder::from_files(model, config) else {
        return;
    };
    let (model, config) = encoder.to_files();
    let again = Encoder::from_files(&model, config.as_bytes()).expect("our own output");
    assert!(again.to_files() == (model, config));

    // What the first path stands for, encoded and decoded.
    let item = encoder.reconstruct(&first_path(&encoder));
    let (paths, distances) = encoder.encode(item.view(), 3).expect("dimensions agree");
    assert_eq!((paths.len(), distances.len()), (1, 1));
    let space = encoder.quantizer().space();
    assert!(paths.rows().all(|path| space.contains(path)));
    assert_eq!(encoder.reconstruct(&paths).dim(), (1, encoder.dim()));
}

/// Reads a fusion and fuses one item of zeros.
pub fn fusion(bytes: &[u8]) {
    let Ok(fusion) = Fusion::from_bytes(bytes) else {
        return;
    };
    let written = fusion.to_bytes();
    assert!(Fusion::from_bytes(&written).expect("our own output") == fusion);
    let sources = fusion.sources().iter();
    let sources: Vec<_> = sources.map(|&dim| Array2::zeros((1, dim))).collect();
    let sources: Vec<_> = sources.iter().map(|source| source.view()).collect();
    let fused = fusion
        .apply(&sources)
        .expect("the sources that it asks for");
    assert_eq!(fused.dim(), (1, fusion.dim()));
}

fn first_path(encoder: &Encoder) -> semantic_id::CodeMatrix {
    let levels = encoder.quantizer().space().levels();
    let codes = vec![semantic_id::Code(0); levels];
    semantic_id::CodeMatrix::new(codes, levels).expect("one row")
}
