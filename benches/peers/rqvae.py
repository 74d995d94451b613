"""LC-Rec's RQ-VAE (Zheng et al., arXiv 2311.09049), written from its published recipe."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import sklearn.cluster
import torch
from torch import Tensor, nn

WIDTHS, LATENT, BETA, EPSILON = [2048, 1024, 512, 256, 128, 64], 32, 0.25, 0.003
BATCH, LEARNING_RATE, WEIGHT_DECAY, WARMUP = 1024, 1e-3, 1e-4, 50 / 10_000


class RqVae(nn.Module):
    """Two perceptrons with batch normalization and, between them, residual quantization by `levels`
    codebooks of `codes` vectors."""

    def __init__(self, dim: int, levels: int, codes: int) -> None:
        super().__init__()
        widths = [dim, *WIDTHS, LATENT]
        self.encoder, self.decoder = perceptron(widths), perceptron(widths[::-1])
        books = (nn.Parameter(torch.zeros(codes, LATENT)) for _ in range(levels))
        self.codebooks = nn.ParameterList(books)

    @torch.no_grad()
    def start(self, batch: Tensor) -> None:
        """The codebooks as k-means of the first batch's residuals."""
        residual = self.encoder(batch)
        for book in self.codebooks:
            kmeans = sklearn.cluster.KMeans(len(book), max_iter=100, random_state=0)
            kmeans.fit(residual.numpy())
            book.copy_(torch.from_numpy(kmeans.cluster_centers_))
            residual = residual - book[torch.from_numpy(kmeans.labels_).long()]

    def quantize(self, latent: Tensor, balanced: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Codes `[B, L]`, the sum of their vectors with the gradients of `latent`, and the loss;
        the last level `balanced` over the batch, or nearest as the others."""
        residual, total, codes, losses = latent, torch.zeros_like(latent), [], []
        for level, book in enumerate(self.codebooks):
            distance = torch.cdist(residual, book).square().detach()
            last = level == len(self.codebooks) - 1
            code = sinkhorn(distance).argmax(1) if last and balanced else distance.argmin(1)
            vector = book[code]
            mse = nn.functional.mse_loss
            losses.append(mse(vector, residual.detach()) + BETA * mse(vector.detach(), residual))
            vector = residual + (vector - residual).detach()
            residual, total = residual - vector, total + vector
            codes.append(code)
        return torch.stack(codes, 1), total, torch.stack(losses).mean()

    def loss(self, batch: Tensor) -> Tensor:
        _, quantized, loss = self.quantize(self.encoder(batch), balanced=True)
        return nn.functional.mse_loss(self.decoder(quantized), batch) + loss


def perceptron(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inner, outer in itertools.pairwise(widths):
        linear = nn.Linear(inner, outer)
        nn.init.xavier_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.BatchNorm1d(outer), nn.ReLU()]
    return nn.Sequential(*layers[:-2])


def sinkhorn(distance: Tensor) -> Tensor:
    """50 rounds of normalizing rows and columns, in double precision, which its exponents need."""
    middle = (distance.max() + distance.min()) / 2
    centered = (distance - middle) / (distance.max() - middle + 1e-5)
    plan = (-centered.double() / EPSILON).exp()
    rows, columns = plan.shape
    plan /= plan.sum()
    for _ in range(50):
        plan /= plan.sum(1, keepdim=True) * rows
        plan /= plan.sum(0, keepdim=True) * columns
    return plan


def train(embeddings: Tensor, levels: int, codes: int, epochs: int) -> RqVae:
    torch.manual_seed(2024)
    model = RqVae(embeddings.shape[1], levels, codes)
    steps = epochs * math.ceil(len(embeddings) / BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    warmup = max(1, round(WARMUP * steps))
    rate = lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    batches = lambda: (embeddings[rows] for rows in torch.randperm(len(embeddings)).split(BATCH))
    model.start(next(batches()))
    for _ in range(epochs):
        for batch in batches():
            optimizer.zero_grad()
            model.loss(batch).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def encode(model: RqVae, embeddings: Tensor) -> Tensor:
    """The nearest codes, `[N, L]`."""
    return model.quantize(model.encoder(embeddings), balanced=False)[0]


@torch.no_grad()
def resolve(model: RqVae, embeddings: Tensor, codes: Tensor) -> Tensor:
    """At most 20 rounds in which each group of items of one ID is encoded alone, its last level
    balanced; what collides then stays."""
    codes = codes.clone()
    for _ in range(20):
        groups = defaultdict(list)
        for row, path in enumerate(codes.tolist()):
            groups[tuple(path)].append(row)
        colliding = [rows for rows in groups.values() if len(rows) > 1]
        for rows in colliding:
            codes[rows] = model.quantize(model.encoder(embeddings[rows]), balanced=True)[0]
        if not colliding:
            break
    return codes
