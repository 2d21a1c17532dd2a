"""Train one small network on handwritten digits and record how well it does: one point of the sweep.

Writes NAME.npz (weights) and NAME.json (settings and validation accuracy). The same settings and seed give the same weights.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from digits import forward, load, predict


def train(width: int, rate: float, decay: float, epochs: int, seed: int, batch: int = 32, momentum: float = 0.9) -> dict[str, np.ndarray]:
    """Weights after `epochs` passes of mini-batch gradient descent with momentum on the cross entropy."""
    images, digits = load("train")
    targets = np.eye(10)[digits]
    rng = np.random.default_rng(seed)
    weights = {
        "w1": rng.normal(0, np.sqrt(2 / 64), (64, width)),
        "b1": np.zeros(width),
        "w2": rng.normal(0, np.sqrt(2 / width), (width, 10)),
        "b2": np.zeros(10),
    }
    speed = {name: np.zeros_like(value) for name, value in weights.items()}
    for _ in range(epochs):
        order = rng.permutation(len(images))
        for start in range(0, len(images), batch):
            chosen = order[start : start + batch]
            hidden, probabilities = forward(weights, images[chosen])
            error = (probabilities - targets[chosen]) / len(chosen)
            back = (error @ weights["w2"].T) * (hidden > 0)
            gradient = {
                "w1": images[chosen].T @ back + decay * weights["w1"],
                "b1": back.sum(axis=0),
                "w2": hidden.T @ error + decay * weights["w2"],
                "b2": error.sum(axis=0),
            }
            for name, value in gradient.items():
                speed[name] = momentum * speed[name] - rate * value
                weights[name] += speed[name]
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, required=True, help="hidden units")
    parser.add_argument("--rate", type=float, required=True, help="learning rate")
    parser.add_argument("--decay", type=float, required=True, help="weight decay")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, metavar="NAME", help="writes NAME.npz and NAME.json")
    options = parser.parse_args()

    began = time.perf_counter()
    weights = train(options.width, options.rate, options.decay, options.epochs, options.seed)
    seconds = time.perf_counter() - began
    images, digits = load("validation")
    accuracy = float((predict(weights, images) == digits).mean())

    np.savez(options.output.with_suffix(".npz"), **weights)
    settings = {name: getattr(options, name) for name in ("width", "rate", "decay", "epochs", "seed")}
    record = {**settings, "validation": accuracy, "seconds": round(seconds, 2)}
    options.output.with_suffix(".json").write_text(json.dumps(record) + "\n")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
