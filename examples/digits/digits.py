"""The data set and the network of this example: what training and evaluation have in common.

The images are split in the order of the file, so the same three parts come out everywhere without a shared state.
"""

from pathlib import Path

import numpy as np

DATA = Path(__file__).with_name("digits.csv.gz")
SPLIT = {"train": slice(0, 1077), "validation": slice(1077, 1437), "test": slice(1437, 1797)}


def load(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 64) scaled to [0, 1] and their digits (n,) of one part of SPLIT."""
    table = np.loadtxt(DATA, delimiter=",", dtype=np.int64)[SPLIT[part]]
    return table[:, :64] / 16.0, table[:, 64]


def forward(weights: dict[str, np.ndarray], images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hidden activations (n, width) and class probabilities (n, 10) of a network with one hidden layer."""
    hidden = np.maximum(images @ weights["w1"] + weights["b1"], 0)
    scores = hidden @ weights["w2"] + weights["b2"]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, scores / scores.sum(axis=1, keepdims=True)


def predict(weights: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """The most probable digit of each image."""
    return forward(weights, images)[1].argmax(axis=1)
