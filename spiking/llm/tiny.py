"""A small byte-level language model to convert without a download: Gated DeltaNet with every fourth layer attention.

The architecture is Hugging Face's Qwen3.5, its recurrence S = e^g (I - b k k^T) S + b k v^T, o = q S of Yang et al.
2024; about two million parameters; its tokens are the 256 bytes. Trained by Lightning on one text file.
"""

from __future__ import annotations

import math
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from spiking import plots
from spiking.llm.bytes import tokenizer
from spiking.llm.perplexity import perplexity
from spiking.llm.text import read
from spiking.training.callbacks import History
from spiking.training.fit import keep, start
from spiking.training.report import write_metrics


def model(width: int = 192, layers: int = 4, heads: int = 4) -> Any:
    """The untrained model.

    Arguments:
        width: of the residual stream, a multiple of 2 * heads.
        layers: every fourth, and the last, has softmax attention, the others Gated DeltaNet.
        heads: of each layer.

    Returns:
        `transformers.Qwen3_5ForCausalLM`.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig

    if heads < 1 or width % (2 * heads):
        raise ValueError(f"width: expected a multiple of 2 * heads = {2 * heads}, got {width}")
    if layers < 1:
        raise ValueError(f"layers: expected at least 1, got {layers}")
    kinds = ["full_attention" if n % 4 == 3 or n == layers - 1 else "linear_attention" for n in range(layers)]
    head = width // heads
    config = Qwen3_5TextConfig(
        vocab_size=256, hidden_size=width, intermediate_size=8 * width // 3 // 8 * 8, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=max(heads // 2, 1), head_dim=head, layer_types=kinds,
        linear_num_key_heads=heads, linear_num_value_heads=heads, linear_key_head_dim=head,
        linear_value_head_dim=head, max_position_embeddings=2048, tie_word_embeddings=False, bos_token_id=10,
        eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return Qwen3_5ForCausalLM(config)


class Windows(Dataset[Tensor]):
    """Windows of a text that begin anywhere; which ones follows from the seed.

    Arguments:
        tokens: (n,).
        context: tokens of a window.
        count: how many windows there are.
        seed: `None` lays them side by side instead.
    """

    def __init__(self, tokens: Tensor, context: int, count: int | None = None, seed: int | None = None) -> None:
        self.tokens, self.context = tokens, context
        if seed is None:
            self.starts = torch.arange(0, len(tokens) - context + 1, context)
        else:
            dice = torch.Generator().manual_seed(seed)
            self.starts = torch.randint(0, len(tokens) - context + 1, (count or 0,), generator=dice)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> Tensor:
        start = int(self.starts[number])
        return self.tokens[start : start + self.context]


class TextData(pl.LightningDataModule):
    """A text file as windows of bytes.

    Arguments:
        text: UTF-8 file; the first 90 % train, the next 5 choose the best step.
        context: bytes of a window.
        batch_size: windows of a step.
        steps: training steps.
        every: steps from one validation to the next.
        seed: of the windows.
    """

    def __init__(
        self, text: str, context: int = 256, batch_size: int = 16, steps: int = 900, every: int = 100, seed: int = 0
    ) -> None:
        super().__init__()
        for name, value in (("context", context), ("batch_size", batch_size), ("steps", steps), ("every", every)):
            if value < (2 if name == "context" else 1):
                raise ValueError(f"data.{name}: expected at least {2 if name == 'context' else 1}, got {value}")
        self.text, self.context, self.batch_size, self.steps, self.every, self.seed = (
            text, context, batch_size, steps, every, seed,
        )  # fmt: skip

    def setup(self, stage: str | None = None) -> None:
        """Read the file."""
        bytes_ = tokenizer()
        parts = [read(self.text, bytes_, part).tokens for part in ("train", "valid")]
        if min(map(len, parts)) < self.context:
            short = f"{len(parts[1])} bytes to validate on are less than data.context={self.context}"
            raise ValueError(f"{self.text}: {short}")
        self.train, self.valid = parts

    def train_dataloader(self) -> DataLoader[Tensor]:
        """`every` steps, other windows in each epoch: Lightning counts `every` steps as one."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        steps = min(self.every, self.steps - epoch * self.every)
        windows = Windows(self.train, self.context, steps * self.batch_size, hash((self.seed, epoch)) % 2**62)
        return DataLoader(windows, self.batch_size)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """The held-out part, side by side."""
        return DataLoader(Windows(self.valid, self.context), self.batch_size)

    @property
    def epochs(self) -> int:
        """How often `every` goes into `steps`."""
        return math.ceil(self.steps / self.every)


class TinyLM(pl.LightningModule):
    """The model, its loss and its optimiser: AdamW, warm-up, then half a cosine down to a tenth.

    Arguments:
        width, layers, heads: as `model` takes them.
        lr: peak learning rate.
        weight_decay: of matrices.
        warmup: steps until the peak.
    """

    def __init__(
        self, width: int = 192, layers: int = 4, heads: int = 4, lr: float = 3e-3, weight_decay: float = 0.1,
        warmup: int = 50,
    ) -> None:  # fmt: skip
        super().__init__()
        self.lm = model(width, layers, heads)
        self.lr, self.weight_decay, self.warmup = lr, weight_decay, warmup

    def _bits(self, windows: Tensor) -> Tensor:
        logits = self.lm(input_ids=windows, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        return loss / math.log(2)

    def training_step(self, windows: Tensor, number: int) -> Tensor:
        """Bits per byte of a batch."""
        loss = self._bits(windows)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, windows: Tensor, number: int) -> None:
        """Bits per byte of the held-out part."""
        self.log("valid_loss", self._bits(windows), batch_size=len(windows))

    def configure_optimizers(self) -> Any:
        """AdamW; norms, biases and vectors do not decay."""
        matrices = [p for p in self.lm.parameters() if p.ndim >= 2]
        vectors = [p for p in self.lm.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": self.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=(0.9, 0.95))
        steps = int(self.trainer.estimated_stepping_batches)

        def height(step: int) -> float:
            if step < self.warmup:
                return (step + 1) / self.warmup
            return 0.55 + 0.45 * math.cos(math.pi * min(1.0, (step - self.warmup) / max(steps - self.warmup, 1)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, height)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def save(self, folder: Path) -> None:
        """Write the model and its tokenizer as Hugging Face reads them."""
        self.lm.save_pretrained(folder)
        tokenizer().save_pretrained(folder)


def fit(
    module: TinyLM, data: TextData, trainer: dict[str, Any], folder: Path, resume: bool = False
) -> dict[str, float]:
    """Train, keep the best step by the validation part, and measure the test part once.

    Arguments:
        module: the model.
        data: its text.
        trainer: arguments of Lightning's Trainer.
        folder: the run folder; it receives `model/`, `checkpoints/`, `metrics.json`, `metrics.csv` and
            `learning_curve.png`.
        resume: go on from its last checkpoint, if it has one.

    Returns:
        the metrics; without those of the test part if Ctrl-C ended the training.
    """
    history, checkpoints = History(folder), folder / "checkpoints"
    best, last = keep(checkpoints / "best.ckpt", monitor="valid_loss", mode="min"), checkpoints / "last.ckpt"
    own = {"callbacks": [history, best, keep(last)], "default_root_dir": folder, "reload_dataloaders_every_n_epochs": 1}
    given = {name: value for name, value in trainer.items() if value is not None}
    fitter = Trainer(**{"max_epochs": data.epochs, **given, **own})
    interrupted = start(fitter, module, data, str(last) if resume and last.is_file() else None)
    metrics: dict[str, float] = {
        "parameters": sum(p.numel() for p in module.parameters()), "steps": fitter.global_step,
        "seconds": round(history.seconds, 3),
    }  # fmt: skip
    if interrupted:
        metrics["interrupted"] = 1
        signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning left further Ctrl-C ignored
    else:
        chosen = min(history.rows, key=lambda row: row["valid_loss"])
        module.load_state_dict(torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"])
        held_out = read(data.text, tokenizer(), "test")
        score = perplexity(module.lm, held_out.tokens, data.context, data.batch_size, held_out.bytes)
        metrics |= {
            "best_step": chosen["epoch"] * data.every, "valid_bits_per_byte": chosen["valid_loss"],
            "test_bits_per_byte": score.bits_per_byte, "test_perplexity": score.perplexity,
        }  # fmt: skip
        module.save(folder / "model")
    write_metrics(folder / "metrics.json", metrics)
    plots.bits_curve(history.rows, data.every).savefig(folder / "learning_curve.png")
    return metrics
