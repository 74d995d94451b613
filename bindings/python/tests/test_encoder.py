import json

import numpy
import pytest

import semid


def write_model(folder, levels, codes, dim):
    """A model folder of a residual quantizer without networks."""
    rng = numpy.random.default_rng(1)
    tensors = {"mean": numpy.zeros(dim), "scale": numpy.ones(1)}
    for level in range(levels):
        tensors[f"codebook.{level}"] = rng.normal(size=(codes, dim)) / 4**level
    header, data = {}, b""
    for name, values in tensors.items():
        raw = values.astype("<f4").tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = folder / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    network = {"layers": 0, "skip": False}
    config = {
        "format": "semid.model", "version": 1, "dim": dim, "levels": levels,
        "encoder": network, "decoder": network,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_an_encoder_finds_the_nearest_codes(tmp_path):
    encoder = semid.Encoder(write_model(tmp_path, levels=2, codes=5, dim=3))
    assert (encoder.dim, encoder.sizes) == (3, [5, 5])
    points = numpy.random.default_rng(2).normal(size=(40, 3)).astype(numpy.float32)
    codes, distances = encoder.encode(points, beams=25)
    first, second = encoder.codebooks()
    sums = (first[:, None] + second[None]).reshape(25, 3)
    expected = ((points[:, None] - sums) ** 2).sum(2)
    numpy.testing.assert_allclose(distances, expected.min(1), rtol=1e-4)
    assert (codes[:, 0] * 5 + codes[:, 1] == expected.argmin(1)).all()
    numpy.testing.assert_allclose(encoder.reconstruct(codes), sums[expected.argmin(1)], rtol=1e-5)


def test_many_rows_are_encoded_as_few_are(tmp_path):
    """Rows go in pieces, between which Ctrl-C is heard."""
    encoder = semid.Encoder(write_model(tmp_path, levels=2, codes=5, dim=3))
    points = numpy.random.default_rng(3).normal(size=(70_000, 3)).astype(numpy.float32)
    codes, distances = encoder.encode(points, beams=2)
    for rows in (slice(0, 10), slice(32_760, 32_780), slice(69_990, None)):
        few, near = encoder.encode(points[rows], beams=2)
        assert (few == codes[rows]).all() and (near == distances[rows]).all()
    assert encoder.encode(points[:0])[0].shape == (0, 2)


def test_assigned_codes_are_distinct(tmp_path):
    encoder = semid.Encoder(write_model(tmp_path, levels=2, codes=5, dim=3))
    points = numpy.zeros((20, 3), dtype=numpy.float32)
    points[:, 0] = numpy.linspace(0, 0.1, 20)
    found = semid.assign(encoder, points, [f"item-{row:02}" for row in range(20)])
    assert len({tuple(path) for path in found.codes.tolist()}) == 20
    native = {tuple(path) for path in encoder.encode(points)[0].tolist()}
    assert found.moved == 20 - len(native) and found.optimal and found.gap == 0
    assert found.added_distance > 0
    index = semid.Index.build([str(row) for row in range(20)], found.codes, encoder.sizes)
    assert len(index) == 20


def test_what_cannot_be_encoded(tmp_path):
    encoder = semid.Encoder(write_model(tmp_path, levels=2, codes=3, dim=3))
    with pytest.raises(semid.SemidError, match="dimension of the embeddings"):
        encoder.encode(numpy.zeros((2, 4), dtype=numpy.float32))
    with pytest.raises(TypeError):
        encoder.encode(numpy.zeros((2, 3)))
    with pytest.raises(semid.SemidError):
        encoder.reconstruct(numpy.array([[0, 9]], dtype=numpy.uint16))
    with pytest.raises(semid.SemidError, match="beams: got 0"):
        encoder.encode(numpy.zeros((2, 3), dtype=numpy.float32), beams=0)
    with pytest.raises(semid.SemidError, match="outnumber|items"):
        semid.assign(encoder, numpy.zeros((10, 3), dtype=numpy.float32), list("abcdefghij"))
    with pytest.raises(FileNotFoundError):
        semid.Encoder(tmp_path / "none")
    (tmp_path / "model.safetensors").write_bytes(b"no model")
    with pytest.raises(semid.SemidError, match="model.safetensors"):
        semid.Encoder(tmp_path)
