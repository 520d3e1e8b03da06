"""Who plays a run's environment, where that is Python."""

from seca.config import RunConfig
from seca.envs.hosted.pool import Hosting
from seca.host import machine


def hosting(config: RunConfig) -> Hosting:
    """What a configuration says of it: as many environments as runners."""
    lanes = config.loop.runners
    if config.workers == "auto":
        # A game is a process of its own: it is waited for, not computed here.
        count = lanes if config.env.startswith("starcraft:") else machine.cpu_cores()
    else:
        count = int(config.workers)
    return Hosting(lanes, min(count, lanes), config.patience)
