"""Convert a language model to spikes step by step: what `spiking convert` does, in the open.

    spiking train tiny-llm --text FILE --out runs/tiny
    python examples/convert_llm.py runs/tiny/model --text FILE

Prints what was converted and the proof that nothing was missed, perplexity beside plain quantisation of equal weights,
and a text that the spiking model goes on with after it was saved and loaded.
"""

from __future__ import annotations

import argparse
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from spiking.llm import SpikeConfig, coverage, spike_
from spiking.llm.activity import activity
from spiking.llm.control import exchanged, plain, spikes
from spiking.llm.perplexity import perplexity
from spiking.llm.text import read


def main(limit: int = 16384) -> dict[str, float]:
    """Convert, prove, compare, save and load; returns the perplexities."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--text", required=True)
    parser.add_argument("--out", help="where the spiking model goes (default: it is thrown away)")
    given = parser.parse_args()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(given.model), AutoTokenizer.from_pretrained(given.model)
    text = read(given.text, tokenizer, "test", limit)
    found = {"float32": perplexity(model, text.tokens).perplexity}

    print(spike_(model, SpikeConfig(k=3.0, weights="int8", group=128)))  # in place; the output embedding is kept
    report = coverage(model, text.tokens[None, :64])  # one pass under which no product goes unseen
    report.check()  # raises if a weight multiplied plain activations
    print(report)

    controls = {"int8 weights, float activations": plain(0), "absmax int8": plain(8), "absmax int4": plain(4)}
    for name, change in {**controls, **{f"spikes, k={k:g}": spikes(k) for k in (1.0, 2.0, 3.0, 4.0)}}.items():
        with exchanged(model, change):
            found[name] = perplexity(model, text.tokens).perplexity
    for name, value in found.items():
        print(f"{name:<34}{value:9.4f}{100 * (value / found['float32'] - 1):+8.2f} %")

    layers, _ = activity(model, text.tokens[:1024])
    for name, layer in layers.items():
        stats = layer.stats
        print(f"{name:<50} silent {100 * stats.silent:5.1f} %  spikes {stats.spikes:.2f}  steps {stats.steps}")

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(given.out or folder)
        tokenizer.save_pretrained(given.out or folder)
        again = AutoModelForCausalLM.from_pretrained(given.out or folder)
    prompt = text.tokens[None, :32]
    tokens = [
        one.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=48, do_sample=False, pad_token_id=0)
        for one in (model, again)
    ]
    print(f"the same tokens after saving and loading: {torch.equal(*tokens)}")
    print(tokenizer.decode(tokens[1][0]))
    return found


if __name__ == "__main__":
    main()
