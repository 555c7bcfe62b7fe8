"""Train a small network on handwritten digits, data-parallel over all ranks.

    jobkit launch -n 2 -- python -m jobkit.native docs/examples/train_digits.py

Every rank holds the whole model and takes its share of each batch; `average_gradients` makes the step that of
the whole batch. So the loss and the accuracy are those of a single rank, whatever the number of ranks.

With `--resume` it writes a checkpoint after each epoch, and when it is told to end (USR1, TERM) at the step
where it is. Started again, on any number of ranks, it goes on with the next step.

The digits are the 1797 images of 8x8 pixels that scikit-learn brings:
https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits
"""

import argparse
import os
import signal
import sys
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
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
    """Return the data in batches, in a random order that is the same on every rank."""
    images, labels = data
    order = rng.permutation(len(labels))
    chosen = (order[start : start + batch_size] for start in range(0, len(order), batch_size))
    return [(images[some], labels[some]) for some in chosen]


def accuracy(model, data, group):
    """Return the part of the digits that the model gets right; each rank looks at its share."""
    images, labels = share(data, group)
    right = mx.sum(mx.argmax(model(images), axis=1) == labels)
    return mx.distributed.all_sum(right).item() / len(data[1])


class Checkpoint:
    """All that is needed to go on after a step, in a file; without a path there is none.

    The order of the images is not in it: it follows from the seed.
    """

    def __init__(self, path, model, optimizer, group):
        self.path = Path(path) if path else None
        self.model, self.optimizer, self.group = model, optimizer, group
        self.told = 0  # the signal that told this rank to end
        if path:
            for number in (signal.SIGUSR1, signal.SIGTERM):
                signal.signal(number, self.note)

    def note(self, number, _frame):
        self.told = number

    def read(self):
        """Take up what is there; return the epoch, how many of its steps are done, and their loss."""
        if not self.path or not self.path.exists():
            return 1, 0, mx.array(0.0)
        arrays, position = mx.load(str(self.path), return_metadata=True)
        loss = arrays.pop("loss") / self.group.size()
        state = tree_unflatten(list(arrays.items()))
        self.model.update(state["model"])
        self.optimizer.state = state["optimizer"]
        return int(position["epoch"]), int(position["step"]), loss

    def write(self, epoch, step, loss):
        """Replace the file at once, so that it is whole whenever a rank is killed."""
        if not self.path:
            return
        loss = mx.distributed.all_sum(loss)
        mx.eval(loss)  # on every rank, though one alone writes it
        if self.group.rank() == 0:
            state = {"model": self.model.parameters(), "optimizer": self.optimizer.state, "loss": loss}
            position = {"epoch": str(epoch), "step": str(step)}
            new = self.path.with_suffix(".new.safetensors")
            mx.save_safetensors(str(new), dict(tree_flatten(state)), position)
            new.replace(self.path)
        mx.eval(mx.distributed.all_sum(mx.array(0)))  # nobody ends before it is written

    def end_if_told(self, epoch, step, loss):
        """End all ranks at the same step when one was told to."""
        if self.path and mx.distributed.all_sum(mx.array(self.told)).item():
            self.write(epoch, step, loss)
            sys.exit(128 + (self.told or signal.SIGTERM))  # as if the signal had ended it: not a success


def train_epoch(model, optimizer, todo, done, total, group, after_step):
    """Go on with an epoch, whose first `done` batches have cost `total` here; return its mean loss."""

    def loss_of(model, images, labels, n_batch):
        # Times size / n_batch, not the mean of the share: shares may differ by one image, and the mean over
        # the ranks must be the mean over the batch.
        losses = nn.losses.cross_entropy(model(images), labels)
        return losses.sum() * (group.size() / n_batch)

    loss_and_gradients = nn.value_and_grad(model, loss_of)
    n_images = sum(len(labels) for _, labels in todo)
    for step, batch in enumerate(todo[done:], start=done + 1):
        loss, gradients = loss_and_gradients(model, *share(batch, group), len(batch[1]))
        gradients = nn.average_gradients(gradients)  # the one line that makes it data-parallel
        optimizer.update(model, gradients)
        total = total + loss * (len(batch[1]) / n_images)
        mx.eval(model.parameters(), optimizer.state, total)
        after_step(step, total)
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
    parser.add_argument("--resume", action="store_true", help="write checkpoints, and go on from the last")
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        default=Path(os.environ.get("JOBKIT_RUN_DIR", "."), "checkpoint.safetensors"),
        help="where the checkpoint is, for all ranks (default: in the run folder of jobkit, else here)",
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
    checkpoint = Checkpoint(args.resume and args.checkpoint, model, optimizer, group)
    first, done, total = checkpoint.read()
    if is_first:
        print(f"training on {len(train[1])} images with {group.size()} rank(s)", flush=True)
        if (first, done) != (1, 0):
            print(f"going on with epoch {first} after {done} steps", flush=True)
    for epoch in range(1, args.epochs + 1):
        todo = batches(train, args.batch_size, rng)  # also of the epochs that are over: the order goes on
        if epoch < first:
            continue
        label = f"epoch {epoch}/{args.epochs}"
        show = progress_bar(label, is_first)

        def after_step(step, total, epoch=epoch, todo=todo, show=show):
            show(step / len(todo))
            checkpoint.end_if_told(epoch, step, total)

        loss = train_epoch(model, optimizer, todo, done, total, group, after_step)
        done, total = 0, mx.array(0.0)
        checkpoint.write(epoch + 1, done, total)
        part = accuracy(model, held_out, group)
        if is_first:
            print(f"{label}  loss {loss:.4f}  accuracy {part:.4f}", flush=True)
    part = accuracy(model, held_out, group)
    if is_first:
        print(f"accuracy {part:.2f}")


if __name__ == "__main__":
    main()
