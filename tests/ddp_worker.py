"""One rank of a test of gradients: ``python -m tests.ddp_worker FOLDER``; what rank 0 finds is written there.

Each rank takes its half of a batch of four samples. Batch norm is in evaluation mode (``eval``) or not (``train``);
``accumulated`` takes the half sample by sample.
"""

import sys
from pathlib import Path

import torch

from lib.config import load_config
from lib.config.ostrack import OSTrackConfig
from lib.models.ostrack import build_ostrack
from lib.train import distributed
from lib.train.actors import build_actor
from lib.train.trainers.step import train_step


def batch_of_four():
    generator = torch.Generator().manual_seed(1)
    return {
        "template_images": torch.randn(1, 4, 3, 32, 32, generator=generator),
        "search_images": torch.randn(1, 4, 3, 64, 64, generator=generator),
        "template_anno": torch.tensor([0.25, 0.25, 0.5, 0.5]).expand(1, 4, 4),
        "search_anno": torch.rand(1, 4, 4, generator=generator) * 0.4 + 0.1,
        "source": [f"sample {i}" for i in range(4)],
    }


def part(batch, start, stop):
    return {key: value[start:stop] if key == "source" else value[:, start:stop] for key, value in batch.items()}


def build(config, seed=0):
    """The tiny network without stochastic depth, and its experiment."""
    cfg = load_config(OSTrackConfig, config, ["TRAIN.DROP_PATH_RATE=0"])
    torch.manual_seed(seed)
    return build_ostrack(cfg), cfg


def gradients(net, cfg, parts, training, stop=False):
    """What one step on ``parts`` comes to: gradients, statistics and the running mean of a batch norm."""
    net.train(training)
    net.zero_grad()
    actor = build_actor(net, cfg)
    actor.net = distributed.wrap(net, actor.device)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    outcome = train_step(actor, parts, torch.optim.SGD(net.parameters(), lr=0.0), scaler, 1, stop=stop)
    return {
        "gradients": {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None},
        "stats": outcome.stats,
        "stop": outcome.stop,
        "running_mean": net.box_head.conv1_ctr[1].running_mean.clone(),
    }


def main(folder: Path) -> None:
    rank = distributed.train_dist_info().rank
    with distributed.process_group(torch.device("cpu")):
        half = part(batch_of_four(), 2 * rank, 2 * rank + 2)
        net, cfg = build(folder / "tiny.yaml", seed=rank)  # the wrapping gives rank 0's weights to all
        found = {
            "eval": gradients(net, cfg, [half], training=False, stop=rank == 1),
            "accumulated": gradients(net, cfg, [part(half, 0, 1), part(half, 1, 2)], training=False),
            "train": gradients(net, cfg, [half], training=True),
        }
        found["own_means"] = distributed.all_gather_object(found["train"]["running_mean"])
        distributed.share_buffers(net)
        found["shared_means"] = distributed.all_gather_object(net.box_head.conv1_ctr[1].running_mean)
        if rank == 0:
            torch.save(found, folder / "found.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
