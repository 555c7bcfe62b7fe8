"""Train a small network on handwritten digits, data-parallel over all ranks.

    jobkit launch -n 2 -- python -m jobkit.native docs/examples/train_digits.py

Every rank holds the whole model and takes its share of each batch; `average_gradients` makes the step that of
the whole batch. So the loss and the accuracy are those of a single rank, whatever the number of ranks.

The digits are the 1797 images of 8x8 pixels that scikit-learn brings:
https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits
"""

import argparse
import sys

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from sklearn.datasets import load_digits

HELD_OUT = 360  # images that are never trained on, a fifth


class Classifier(nn.Module):
    """Two layers: 64 pixels, 64 hidden units, 10 digits."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(64, 64)
        self.out = nn.Linear(64, 10)

    def __call__(self, images):
        return self.out(nn.relu(self.hidden(images)))


def load(rng):
    """Return two pairs of images (n, 64), in 0 to 1, and their digits (n,): to train on, and held out."""
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    images = (digits.data[order] / 16).astype(np.float32)
    labels = digits.target[order].astype(np.int32)
    return (images[HELD_OUT:], labels[HELD_OUT:]), (images[:HELD_OUT], labels[:HELD_OUT])


def share(batch, group):
    """Return this rank's images and digits of a batch: every size-th one."""
    return tuple(mx.array(part[group.rank() :: group.size()]) for part in batch)


def batches(data, batch_size, rng):
    """Yield the data in batches, in a random order that is the same on every rank."""
    images, labels = data
    order = rng.permutation(len(labels))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        yield images[chosen], labels[chosen]


def accuracy(model, data, group):
    """Return the part of the digits that the model gets right; each rank looks at its share."""
    images, labels = share(data, group)
    right = mx.sum(mx.argmax(model(images), axis=1) == labels)
    return mx.distributed.all_sum(right).item() / len(data[1])


def train_epoch(model, optimizer, data, args, group, rng, show):
    """Go once through the data and return the mean loss."""

    def loss_of(model, images, labels, n_batch):
        # Times size / n_batch, not the mean of the share: shares may differ by one image, and the mean over
        # the ranks must be the mean over the batch.
        losses = nn.losses.cross_entropy(model(images), labels)
        return losses.sum() * (group.size() / n_batch)

    loss_and_gradients = nn.value_and_grad(model, loss_of)
    total = mx.array(0.0)
    for n_seen, batch in enumerate(batches(data, args.batch_size, rng), start=1):
        loss, gradients = loss_and_gradients(model, *share(batch, group), len(batch[1]))
        gradients = nn.average_gradients(gradients)  # the one line that makes it data-parallel
        optimizer.update(model, gradients)
        total = total + loss * (len(batch[1]) / len(data[1]))
        mx.eval(model.parameters(), optimizer.state, total)
        show(n_seen * args.batch_size / len(data[1]))
    return mx.distributed.all_sum(total).item() / group.size()


def progress_bar(label, is_shown):
    """Return a function that draws a bar for the part that is done, 0 to 1, on a terminal only."""

    def show(done):
        if is_shown and sys.stderr.isatty():
            bar = "#" * int(30 * min(done, 1))
            print(f"\r{label} [{bar:<30}]" if done < 1 else "\r\x1b[K", end="", file=sys.stderr, flush=True)

    return show


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12, help="passes over the images (default %(default)s)")
    parser.add_argument(
        "--batch-size",
        type=int,
        default=64,
        help="images a step, of all ranks together (default %(default)s)",
    )
    parser.add_argument("--lr", type=float, default=0.001, help="learning rate (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the weights and the order (default %(default)s)"
    )
    return parser.parse_args()


def main():
    args = arguments()
    group = mx.distributed.init()
    is_first = group.rank() == 0
    rng = np.random.default_rng(args.seed)
    mx.random.seed(args.seed)  # the same weights on every rank
    train, held_out = load(rng)
    model, optimizer = Classifier(), optim.Adam(learning_rate=args.lr)
    if is_first:
        print(f"training on {len(train[1])} images with {group.size()} rank(s)", flush=True)
    for epoch in range(1, args.epochs + 1):
        label = f"epoch {epoch}/{args.epochs}"
        loss = train_epoch(model, optimizer, train, args, group, rng, progress_bar(label, is_first))
        part = accuracy(model, held_out, group)
        if is_first:
            print(f"{label}  loss {loss:.4f}  accuracy {part:.4f}", flush=True)
    if is_first:
        print(f"accuracy {part:.2f}")


if __name__ == "__main__":
    main()
