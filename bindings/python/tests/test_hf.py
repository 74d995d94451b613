import pytest
import semid

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from semid import hf

PROMPTS = torch.tensor([[3, 1, 4, 1, 5], [0, 0, 2, 7, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
PROMPT = {"input_ids": PROMPTS, "attention_mask": MASK}


@pytest.fixture(params=["LlamaConfig", "Qwen2Config", "GPTNeoXConfig"])
def model(request, tokens):
    torch.manual_seed(0)
    config = getattr(transformers, request.param)(
        vocab_size=tokens.vocabulary,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2 if request.param != "GPTNeoXConfig" else 4,
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def t5(tokens):
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=tokens.vocabulary, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=None, initializer_factor=5.0,
    )
    return transformers.T5ForConditionalGeneration(config).eval()


def generated(model, trie, tokens, beams, start, **constraint):
    """The items and scores of `generate`, by row of the prompts."""
    out = model.generate(
        **PROMPT, num_beams=beams, num_return_sequences=beams, max_new_tokens=trie.levels,
        do_sample=False, length_penalty=0.0, early_stopping=False, output_scores=True,
        return_dict_in_generate=True, **constraint,
    )
    rows = out.sequences[:, start:]
    codes = [[tokens.code(level, int(token)) for level, token in enumerate(row)] for row in rows]
    found = list(zip(codes, out.sequences_scores.tolist(), strict=True))
    return [found[:beams], found[beams:]]


@pytest.mark.parametrize("way", ["processor", "function"])
def test_items_are_those_of_generate(model, trie, tokens, way):
    beams = 8
    if way == "processor":
        processor = hf.SemanticIdLogitsProcessor(trie, tokens, prompt_length=PROMPTS.shape[1])
        constraint = {"logits_processor": [processor]}
    else:
        allowed = hf.prefix_allowed_tokens_fn(trie, tokens, prompt_length=PROMPTS.shape[1])
        constraint = {"prefix_allowed_tokens_fn": allowed}
    expected = generated(model, trie, tokens, beams, PROMPTS.shape[1], **constraint)
    found = hf.generate_items(model, PROMPT, beams, trie=trie, tokens=tokens, beams=beams)
    for outcome, expected in zip(found, expected, strict=True):
        assert [hit.codes for hit in outcome.hits] == [codes for codes, _ in expected]
        scores = torch.tensor([hit.score for hit in outcome.hits])
        torch.testing.assert_close(scores, torch.tensor([s for _, s in expected]), atol=1e-4, rtol=0)


def test_items_of_an_encoder_decoder(trie, tokens):
    model, beams = t5(tokens), 8
    allowed = hf.prefix_allowed_tokens_fn(trie, tokens, prompt_length=1)
    expected = generated(model, trie, tokens, beams, 1, prefix_allowed_tokens_fn=allowed)
    found = hf.generate_items(model, PROMPT, beams, trie=trie, tokens=tokens, beams=beams)
    for outcome, expected in zip(found, expected, strict=True):
        assert [hit.codes for hit in outcome.hits] == [codes for codes, _ in expected]


@pytest.mark.parametrize("normalizer", ["level", "valid-children"])
def test_a_level_of_the_head_is_enough(model, trie, tokens, normalizer):
    """The same as a search over the logits of the whole vocabulary."""
    arguments = {"trie": trie, "tokens": tokens, "beams": 60, "normalizer": normalizer}
    found = hf.generate_items(model, PROMPT, 10, **arguments)
    scorer = hf.TreeDecoder(model, PROMPT, trie, tokens, True)
    search = semid.BeamSearch(trie, tokens, k=10, beams=60, normalizer=normalizer)
    with torch.inference_mode():
        expected = search.run(scorer, [None, None])
    for found, expected in zip(found, expected, strict=True):
        assert [hit.row for hit in found.hits] == [hit.row for hit in expected.hits]


def test_an_exact_search_goes_on(model, trie, tokens):
    wide = hf.generate_items(model, PROMPT, 5, trie=trie, tokens=tokens, beams=60)
    exact = hf.generate_items(
        model, PROMPT, 5, trie=trie, tokens=tokens, beams=2, row_budget=10_000
    )
    for wide, exact in zip(wide, exact, strict=True):
        assert exact.exact
        assert [hit.row for hit in exact.hits] == [hit.row for hit in wide.hits]


def test_filters_and_bad_input(model, trie, tokens, index):
    few = semid.Filter.allow(trie, [4, 5])
    found = hf.generate_items(model, PROMPT, 5, trie=trie, tokens=tokens, filters=[few, None])
    assert sorted(hit.row for hit in found[0].hits) == [4, 5] and len(found[1].hits) == 5
    with pytest.raises(ValueError, match="1 filters, expected 2"):
        hf.generate_items(model, PROMPT, 5, trie=trie, tokens=tokens, filters=[few])
    for firsts, vocabulary in [([10, 16, 22], 1000), ([0, 6, 12], 18)]:
        other = semid.TokenMap.ranges(index, firsts, vocabulary)
        with pytest.raises(ValueError, match=f"28 logits, .* vocabulary of {vocabulary}"):
            hf.generate_items(model, PROMPT, 5, trie=trie, tokens=other)
    with pytest.raises(ValueError, match="one of both"):
        hf.SemanticIdLogitsProcessor(trie, tokens)
    processor = hf.SemanticIdLogitsProcessor(trie, tokens, prompt_length=5)
    with pytest.raises(ValueError, match="scores of 7 tokens"):
        processor(PROMPTS, torch.zeros(2, 7))


def test_a_trigger_opens_the_constraint(trie, tokens):
    processor = hf.SemanticIdLogitsProcessor(trie, tokens, trigger=[1, 5], end=0)
    scores = torch.randn(2, tokens.vocabulary)
    constrained = processor(PROMPTS, scores)
    assert (constrained[1] == scores[1]).all()
    allowed = [tokens.token(0, int(code)) for code in trie.children(trie.root)]
    assert constrained[0].isfinite().nonzero().flatten().tolist() == allowed
    assert (constrained[0, allowed] == scores[0, allowed]).all()


def two_words(tied):
    """A tokenizer of two words, and a model for it."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"<unk>": 0, "buy": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    config = transformers.LlamaConfig(
        vocab_size=2, hidden_size=64, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, tie_word_embeddings=tied, bos_token_id=None, eos_token_id=None,
    )
    return tokenizer, transformers.LlamaForCausalLM(config)


def test_a_tokenizer_learns_all_codes(index, tmp_path):
    tokenizer, model = two_words(tied=True)
    tokens = hf.extend_tokenizer(tokenizer, model, index)
    assert len(tokenizer) == 2 + 18 and model.get_output_embeddings().weight.shape[0] == 20
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tokenizer.encode("buy" + index.text(7)) == [
        1, *(tokens.token(level, code) for level, code in enumerate(index["item-7"]))
    ]
    tokenizer.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert hf.extend_tokenizer(again, model, index).token(2, 5) == tokens.token(2, 5)
    assert len(again) == 20


def test_a_tokenizer_that_splits_a_code_is_refused(index):
    tokenizer, model = two_words(tied=True)
    tokenizer.add_tokens = lambda tokens: 0
    with pytest.raises(ValueError, match="splits '<a_0>' into .*one token a code"):
        hf.extend_tokenizer(tokenizer, model, index)


def test_more_beams_than_items(model, trie, tokens):
    found = hf.generate_items(model, PROMPT, 100, trie=trie, tokens=tokens, beams=200)
    assert [len({hit.row for hit in outcome.hits}) for outcome in found] == [60, 60]
    assert all(outcome.exact for outcome in found)


@pytest.mark.parametrize("tied", [True, False])
def test_codes_lie_as_their_centroids(index, tmp_path, tied):
    from test_encoder import write_model

    encoder = semid.Encoder(write_model(tmp_path, levels=3, codes=6, dim=4))
    tokenizer, model = two_words(tied)
    words = model.get_input_embeddings().weight[:2].clone()
    tokens = hf.extend_tokenizer(tokenizer, model, index, encoder)
    for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):
        for level, codebook in enumerate(encoder.codebooks()):
            rows = [tokens.token(level, code) for code in range(6)]
            apart = torch.pdist(embeddings.weight[rows].detach())
            centroids = torch.pdist(torch.from_numpy(codebook))
            assert torch.corrcoef(torch.stack((apart, centroids)))[0, 1] > 0.9
    assert (model.get_input_embeddings().weight[:2] == words).all()
    with pytest.raises(ValueError, match="expected \\[6, 6, 6\\]"):
        other = semid.Encoder(write_model(tmp_path, levels=2, codes=6, dim=4))
        hf.extend_tokenizer(*two_words(tied), index, other)


@pytest.mark.parametrize("tied", [True, False])
def test_lora_tunes_the_rows_of_codes(index, trie, tmp_path, tied):
    import peft

    tokenizer, model = two_words(tied)
    tokens = hf.extend_tokenizer(tokenizer, model, index)
    model.save_pretrained(tmp_path / "base")
    names = hf.modules_to_save(model)
    assert names == (["embed_tokens"] if tied else ["embed_tokens", "lm_head"])
    lora = peft.LoraConfig(
        target_modules=["q_proj"], modules_to_save=names, ensure_weight_tying=tied
    )
    tuned = peft.get_peft_model(model, lora)
    ends = tuned.get_input_embeddings(), tuned.get_output_embeddings()
    before = [end.weight.detach().clone() for end in ends]
    ids = torch.tensor([tokenizer.encode("buy" + index.text(7))])
    tuned(input_ids=ids, labels=ids).loss.backward()
    torch.optim.SGD(tuned.parameters(), lr=1.0).step()
    code = tokens.token(0, index["item-7"][0])
    for end, old in zip(ends, before, strict=True):
        assert (end.weight[code] != old[code]).any()

    def hits(model):
        prompt = {"input_ids": ids[:, :1]}
        (outcome,) = hf.generate_items(model.eval(), prompt, 5, trie=trie, tokens=tokens)
        return [(hit.row, pytest.approx(hit.score, abs=1e-4)) for hit in outcome.hits]

    tuned.save_pretrained(tmp_path / "lora")
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    again = peft.PeftModel.from_pretrained(base, tmp_path / "lora")
    merged = tuned.merge_and_unload()
    assert (merged.get_output_embeddings().weight is merged.get_input_embeddings().weight) == tied
    assert hits(merged) == hits(tuned) == hits(again)
