"""Who plays a run's environment, where that is Python."""

from seca.config import RunConfig
from seca.envs import registry
from seca.envs.hosted.pool import Hosting
from seca.errors import UsageError
from seca.host import actors, machine


def hosting(config: RunConfig) -> Hosting:
    """What a configuration says of it: as many environments as runners.

    Raises UsageError where a Ray cluster is asked for that is not there, or for an environment that is no Python.
    """
    lanes = config.loop.runners
    if config.workers.startswith("ray"):
        if not registry.is_hosted(config.env):
            raise UsageError(
                f"`workers` is '{config.workers}' but {config.env} is played in the training loop itself: choose auto"
            )
        launcher = actors.launcher(config.workers)
        return Hosting(lanes, min(launcher.cpus, lanes), config.patience, launch=launcher.launch)
    if config.workers == "auto":
        # A game is a process of its own: it is waited for, not computed here.
        count = lanes if config.env.startswith("starcraft:") else machine.cpu_cores()
    else:
        count = int(config.workers)
    return Hosting(lanes, min(count, lanes), config.patience)
