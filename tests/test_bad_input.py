"""Bad arguments: one clear line that names the field, the value and the choices; exit code 2; nothing on disk changes.

Bad files are in `test_bad_files.py`, files that nobody would think of in `test_formats.py`.
"""

import dataclasses
import pathlib
import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from refusals import assert_one_line, assert_refused

from seca.config import RunConfig
from seca.options import (
    AuditOptions,
    BenchOptions,
    CheckEnvOptions,
    EvaluateOptions,
    PlotOptions,
    ResumeOptions,
    ViewOptions,
    WatchOptions,
)
from seca.presets import PRESETS
from seca.train.loop import LoopConfig

TRAIN = ["train", "seca", "--env", "matrix/focus-fire"]
LONG = "n" * 5000

# Arguments, and what the line must contain: field, value, choices.
INPUTS: list[tuple[list[str], list[str]]] = [
    (["frobnicate"], ["`command`", "frobnicate", "train", "doctor"]),
    (["train"], ["`preset`", "missing", "coma-newarchi"]),
    (["train", "nope"], ["`preset`", "nope", "seca-paper", "indadv"]),
    (["train", "seca", "--env", "nope"], ["`env`", "nope", "matrix/focus-fire", "smac/2s3z"]),
    (["train", "seca", "--env", "smac/nope"], ["`env`", "smac/nope", "smac/2s3z"]),
    (["train", "seca", "--env", "matrix/nope"], ["`env`", "matrix/nope", "matrix/focus-fire"]),
    (["train", "seca", "--env", "matrix"], ["`env`", "matrix", "matrix/focus-fire"]),
    ([*TRAIN, "--env-options", "speed=3"], ["`env-options`", "speed"]),
    (
        ["train", "seca", "--env", "smac/2s3z", "--env-options", "map_name=3m"],
        ["options`", "map_name", "reward_sparse"],
    ),
    (["train", "iql", "--env", "mpe/predator-prey", "--env-options", "name=x"], ["`env-options`", "name", "profile"]),
    (["train", "seca", "--env", "smac/2s3z", "--env-options", "speed=3"], ["options`", "speed", "reward_sparse"]),
    ([*TRAIN, "--env-options", "speed"], ["`env-options`", "speed", "key=value"]),
    ([*TRAIN, "--env-options", "=3"], ["`env-options`", "=3", "key=value"]),
    ([*TRAIN, "--env-options", "a=1", "a=2"], ["`env-options`", "'a'", "twice"]),
    ([*TRAIN, "--seed", "-1"], ["`seed`", "-1", "4294967295"]),
    ([*TRAIN, "--seed", "4294967296"], ["`seed`", "4294967296"]),
    ([*TRAIN, "--seed", "1.5"], ["--seed", "1.5", "whole number"]),
    ([*TRAIN, "--seed", "abc"], ["--seed", "abc", "whole number"]),
    ([*TRAIN, "--steps", "0"], ["`steps`", "0", "from 1 to 4000000000"]),
    ([*TRAIN, "--steps", "-5"], ["`steps`", "-5"]),
    ([*TRAIN, "--steps", "many"], ["--steps", "many", "whole number"]),
    ([*TRAIN, "--steps", "1e99"], ["`steps`", "4000000000"]),
    ([*TRAIN, "--steps", "nan"], ["--steps", "nan", "whole number"]),
    ([*TRAIN, "--runners", "0"], ["`runners`", "0", "from 1 to 1048576"]),
    ([*TRAIN, "--runners", "10000000000"], ["`runners`", "10000000000", "from 1 to 1048576"]),
    ([*TRAIN, "--eval-episodes", "10000000000"], ["`eval_episodes`", "10000000000", "from 1 to 1048576"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", "reward_win=nan"], ["`reward_win`", "nan", "finite"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", "reward_win=-1e6"], ["`reward_scale`", "above 0"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", "profile=smaclite"], ["`profile`", "2s3z", "'3m'"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", "profile=lite"], ["`profile`", "smac, ladder410", "lite"]),
    ([*TRAIN, "--runners", "-3"], ["`runners`", "-3"]),
    ([*TRAIN, "--runners", "32", "--devices", "5"], ["`runners`", "32", "`devices`", "5", "1, 2, 4, 8, 16, 32"]),
    ([*TRAIN, "--runners", "64", "--devices", "64"], ["`devices`", "64", "offers 4"]),
    ([*TRAIN, "--devices", "-1"], ["`devices`", "-1"]),
    ([*TRAIN, "--minibatches", "0"], ["`minibatches`", "0"]),
    ([*TRAIN, "--episodes", "-1"], ["`episodes`", "-1", "from 0 to 2147483647"]),
    (["train", "coma-mpe", "--env", "mpe/predator-prey", "--order", "random"], ["`order` is random", "counterfactual"]),
    (["train", "sqddpg", "--env", "mpe/predator-prey", "--kept", "9"], ["`kept` is 9", "`interval` 100"]),
    (["watch", "--env", "mpe/predator-prey", "--policy", "heuristic"], ["`policy` is 'heuristic'", "random"]),
    ([*TRAIN, "--minibatches", "5"], ["`minibatches`", "5", "`runners`", "32", "1, 2, 4, 8, 16, 32"]),
    ([*TRAIN, "--minibatches", "8", "--devices", "8"], ["`devices`", "8", "8 updates", "1, 2, 4"]),
    ([*TRAIN, "--eval-interval", "0"], ["`eval_interval`", "0"]),
    ([*TRAIN, "--eval-episodes", "0"], ["`eval_episodes`", "0"]),
    ([*TRAIN, "--checkpoint-interval", "-1"], ["`checkpoint_interval`", "-1"]),
    ([*TRAIN, "--workers", "none"], ["`workers`", "none", "auto", "ray://HOST:PORT"]),
    ([*TRAIN, "--workers", "0"], ["`workers`", "0"]),
    ([*TRAIN, "--workers", "ray"], ["`workers`", "ray", "auto"]),
    ([*TRAIN, "--patience", "0"], ["`patience`", "0"]),
    (["train", "seca", "--env", "pettingzoo:no.such.thing"], ["`env`", "no.such.thing", "cannot be imported"]),
    (["train", "seca", "--env", "gymnasium:NoSuch-v0"], ["`env`", "NoSuch-v0", "gymnasium:PACKAGE:ID"]),
    (["train", "seca", "--env", "pymarl:no.such.Thing"], ["`env`", "no.such.Thing", "cannot be imported"]),
    (["train", "seca", "--env", "starcraft:2s3z"], ["`env`", "starcraft:", "needs"]),
    (["train", "seca-fork", "--env", "pettingzoo:mpe2.simple_spread_v3.parallel_env"], ["no pure function"]),
    ([*TRAIN, "--snapshot-interval", "-1"], ["`snapshot_interval`", "-1"]),
    ([*TRAIN, "--checkpoint-interval", "nan"], ["`checkpoint_interval`", "nan"]),
    ([*TRAIN, "--gamma", "1.5"], ["`gamma`", "1.5", "lie in [0, 1]"]),
    ([*TRAIN, "--gamma", "nan"], ["`gamma`", "nan"]),
    ([*TRAIN, "--td-lambda", "-0.1"], ["`td_lambda`", "-0.1", "lie in [0, 1]"]),
    ([*TRAIN, "--actor-lr", "0"], ["`actor_lr`", "0.0", "above 0"]),
    ([*TRAIN, "--critic-lr", "-1"], ["`critic_lr`", "-1.0"]),
    ([*TRAIN, "--actor-lr", "inf"], ["`actor_lr`", "inf", "finite"]),
    ([*TRAIN, "--actor-lr", "fast"], ["--actor-lr", "fast"]),
    ([*TRAIN, "--actor-lr"], ["--actor-lr", "Missing value"]),
    ([*TRAIN, "--actor-lrr", "1"], ["--actor-lrr", "--actor-lr"]),
    ([*TRAIN, "--entropy", "nope"], ["--entropy", "nope", "batch_mean"]),
    ([*TRAIN, "--credit", "nope"], ["--credit", "nope", "swept", "counterfactual"]),
    ([*TRAIN, "--order", "nope"], ["--order", "nope", "gradients", "random"]),
    ([*TRAIN, "--time-limit", "never"], ["--time-limit", "never", "bootstrap", "terminal"]),
    ([*TRAIN, "--critic-width", "0"], ["`critic_width`", "0"]),
    ([*TRAIN, "--critic-width", "wide"], ["--critic-width", "wide", "whole number", "None"]),
    ([*TRAIN, "--critic-embed", "100000000"], ["`algorithm`", "GiB", "a single runner", "smaller networks"]),
    ([*TRAIN, "--target-interval", "0"], ["`target_interval`", "0"]),
    ([*TRAIN, "--entropy-coef", "-0.1"], ["`entropy_coef`", "-0.1", "at least 0"]),
    ([*TRAIN, "--clip-norm", "0"], ["`clip_norm`", "0.0", "above 0"]),
    ([*TRAIN, "--path.stage", "0"], ["`path.stage`", "0"]),
    ([*TRAIN, "--path.points", "0"], ["`path.points`", "0"]),
    ([*TRAIN, "--path.points", "1000000000"], ["`path.points`", "1000000000", "from 1 to 1000"]),
    ([*TRAIN, "--path.stage", "1000000000"], ["`path.stage`", "1000000000", "from 1 to"]),
    ([*TRAIN, "--target-interval", "5000000000"], ["`target_interval`", "5000000000", "from 1 to 2147483647"]),
    ([*TRAIN, "--critic-epochs", "5000000000"], ["`critic_epochs`", "5000000000", "from 1 to 10000"]),
    ([*TRAIN, "--credit", "monte_carlo", "--credit-samples", "1e9"], ["`credit_samples`", "1000000000", "from 1 to"]),
    (["train", "qmix", "--env", "smac/3m", "--updates", "0"], ["`updates`", "0", "from 1 to 10000"]),
    ([*TRAIN, "--loggers", "mlflow"], ["--loggers", "mlflow", "tensorboard", "wandb"]),
    ([*TRAIN, "--normalise", "rewards"], ["--normalise", "rewards", "obs", "state", "reward"]),
    ([*TRAIN, "--share", "some"], ["--share", "some", "all", "type", "none"]),
    (["train", "coma-mpe", "--env", "mpe/predator-prey", "--share", "type"], ["`share` is type", "coma-mpe", "all or"]),
    ([*TRAIN, "--dead", "mask"], ["--dead", "mask", "none", "mask-obs", "mask-loss"]),
    (["train", "qmix", "--env", "matrix/peak", "--dead", "mask-loss"], ["`dead`", "mask-loss", "qmix", "mask-obs"]),
    ([*TRAIN, "--normalise", "obs", "obs"], ["`normalise`", "obs twice", "state"]),
    ([*TRAIN, "--frobnicate", "3"], ["--frobnicate", "3"]),
    ([*TRAIN, "stray"], ["stray"]),
    (["train", "indadv", "--env", "smac/3m", "--setting", "reference"], ["`setting`", "reference", "seca algos"]),
    (["train", "qmix", "--setting=reference"], ["`setting`", "no option any more", "`seca train qmix-reference`"]),
    (["train", "seca-uncorrected", "--setting", "reference"], ["`setting`", "`seca train seca-paper`"]),
    (["train", "coma", "--setting", "paper"], ["`setting`", "no option any more", "`seca train coma`"]),
    (["train", "--config", "absent.json", "--setting", "reference"], ["`setting`", "reference", "seca algos"]),
    (["train", "coma", "--setting"], ["`setting`", "no value", "no option any more"]),
    (
        ["train", "vdn", "--env", "matrix/peak", "--runners", "40", "--buffer-episodes", "32"],
        [
            "`runners`",
            "40",
            "holds 32",
            "`buffer_episodes`",
        ],
    ),
    (["train", "riit-online", "--env", "smac/3m", "--latest-episodes", "16"], ["`runners`", "32", "holds 16"]),
    (
        ["train", "qmix", "--env", "smac/3m", "--runners", "6", "--devices", "3"],
        [
            "`batch_episodes`",
            "32",
            "`devices` is 3",
            "must divide 32",
        ],
    ),
    ([*TRAIN, "--setting", "best"], ["`setting`", "best", "no option any more"]),
    (
        ["train", "coma", "--env", "quadratic/apart"],
        ["`preset` coma", "discrete", "quadratic/apart are continuous", "mappo", "sqddpg"],
    ),
    (["train", "seca-fork", "--env", "quadratic/apart"], ["`preset` seca-fork", "continuous", "choose one of seca,"]),
    (["train", "seca", "--env", "quadratic/apart", "--credit", "exact"], ["`credit` exact", "monte_carlo"]),
    (["train", "mappo", "--env", "mpe/predator-prey", "--env-options", "actions=box"], ["actions", "box", "discrete"]),
    (["train", "qatten", "--env", "matrix/qtran"], ["`env`", "matrix/qtran", "choose a smac/ environment"]),
    (["train", "riit", "--env", "smac/3m", "--latest-episodes", "9000"], ["`latest_episodes`", "9000", "holds 5000"]),
    (["train", "scc", "--env", "smac/2s3z", "--credit-orders", "7"], ["`credit_orders`", "7", "even number"]),
    ([*TRAIN, "--out", "occupied"], ["`out`", "occupied", "exists", "seca resume"]),
    ([*TRAIN, "--out", "occupied/file.txt"], ["`out`", "occupied/file.txt", "exists"]),
    ([*TRAIN, "--out", "occupied/file.txt/run"], ["`out`", "occupied/file.txt/run", "cannot be made"]),
    ([*TRAIN, "--config"], ["`config`", "no value"]),
    (["train", "--config", "absent.json"], ["`config`", "absent.json", "No such file"]),
    (["train", "--config", "occupied/file.txt"], ["`config`", "occupied/file.txt", "not JSON"]),
    (["train", "--config", "occupied/noise.bin"], ["`config`", "occupied/noise.bin", "not a text file"]),
    (["train", "--config", "occupied"], ["`config`", "occupied", "directory"]),
    (["resume"], ["RUN", "required"]),
    (["resume", "absent"], ["`run`", "absent", "no such folder"]),
    (["resume", "occupied"], ["`run`", "occupied", "not a run folder"]),
    (["resume", "absent", "--checkpoint", "worst"], ["--checkpoint", "worst", "latest", "best"]),
    (["evaluate", "absent"], ["`run`", "absent", "no such folder"]),
    (["evaluate", "absent", "--episodes", "0"], ["`episodes`", "0", "from 1 to 1048576"]),
    (["evaluate", "absent", "--episodes", "10000000000"], ["`episodes`", "10000000000", "from 1 to 1048576"]),
    (["evaluate", "absent", "--seed", "-1"], ["`seed`", "-1"]),
    (["plot"], ["`runs`", "at least one"]),
    (["plot", "absent"], ["`run`", "absent", "no such folder"]),
    (["view"], ["`runs` are 0", "two to stand side by side"]),
    (["view", "absent"], ["`runs`", "absent", "neither a run folder nor a recording"]),
    (["view", "occupied"], ["`run`", "occupied", "not a run folder"]),
    (["view", "occupied/noise.bin"], ["`recording`", "occupied/noise.bin", "with a recording"]),
    (["view", "absent", "--truth", "-1"], ["`truth`", "-1"]),
    (["view", "absent", "--forks", "1"], ["`forks`", "1"]),
    (["view", "absent", "--battle", "-1"], ["`battle`", "-1"]),
    (["view", "absent", "--seed", "-1"], ["`seed`", "-1"]),
    (["view", "absent", "--checkpoint", "1.5"], ["--checkpoint", "1.5", "whole number", "latest"]),
    (["view", "absent", "--out", ""], ["`out`", "leave it out"]),
    (["view", "absent", "--sampled", "maybe"], ["maybe"]),
    (["train", "seca", "--env", "jaxmarl:nope"], ["`env`", "jaxmarl"]),
    (["watch"], ["`policy`", "missing", "random", "heuristic", "run folder"]),
    (["watch", "--policy", "nope", "--env", "smac/3m"], ["`policy`", "nope", "random", "heuristic", "run folder"]),
    (["watch", "--policy", "occupied"], ["`run`", "occupied", "not a run folder"]),
    (["watch", "--policy", "random"], ["`env`", "missing", "--env smac/2s3z"]),
    (["watch", "--policy", "random", "--env", "smac/nope"], ["`env`", "smac/nope", "smac/2s3z"]),
    (["watch", "--policy", "random", "--env", "matrix/qtran"], ["`env`", "matrix/qtran", "nothing to draw", "smac/"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--env-options", "a=1"], ["options`", "'a'", "jitter"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--checkpoint", "best"], ["`checkpoint`", "best", "random"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--seed", "-1"], ["`seed`", "-1"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--battle", "-1"], ["`battle`", "-1"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--fps", "0"], ["`fps`", "0", "from 1 to 50"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--every", "0"], ["`every`", "0", "at least 1"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--out", "x.jpg"], ["`out`", "x.jpg", ".gif, .mp4, .png"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--out", "occupied/file.txt/x.gif"], ["`out`", "written"]),
    (["watch", "absent.npz"], ["`recording`", "absent.npz", "no such file"]),
    (["watch", "occupied"], ["`recording`", "occupied", "no such file"]),
    (["watch", "occupied/noise.bin"], ["`recording`", "occupied/noise.bin", "with a recording"]),
    (["watch", "absent.npz", "--policy", "random"], ["`policy`", "random", "absent.npz", "leave"]),
    (["bench", "nothing"], ["nothing", "simulator", "train"]),
    (["bench", "--batch", "0"], ["`batch`", "0"]),
    (["bench", "--runners", "-2"], ["`runners`", "-2"]),
    (["bench", "--runners", "6", "--minibatches", "4"], ["`minibatches`", "4", "6 runners"]),
    (["bench", "--seconds", "0"], ["`seconds`", "0"]),
    (["bench", "--preset", "nope"], ["`preset`", "nope", "seca", "or all"]),
    (["bench", "train", "--preset", "iql", "nope"], ["`preset`", "nope", "seca", "or all"]),
    (["bench", "train", "--preset", "iql", "vdn", "iql"], ["`preset`", "iql", "twice"]),
    (["bench", "train", "--preset", "iql", "all"], ["`preset`", "all", "names"]),
    (["bench", "train", "--preset"], ["`preset`", "empty", "seca", "all"]),
    (["bench", "train", "--env", "nope", "--preset", "all"], ["`env`", "nope", "smac/2s3z"]),
    (["bench", "--env", "nope"], ["`env`", "nope", "smac/2s3z"]),
    (["check-env"], ["ENV", "required"]),
    (["check-env", ""], ["`check-env`", "''"]),
    (["check-env", "nope"], ["`env`", "nope", "smac/2s3z"]),
    (["check-env", "python:nowhere.make"], ["`env`", "python:nowhere.make", "cannot be imported"]),
    (["check-env", "matrix/peak", "--env-options", "speed=3"], ["`env-options`", "speed"]),
    (["check-env", "matrix/peak", "--runners", "2"], ["`runners`", "2", "from 3 to"]),
    (["check-env", "matrix/peak", "--steps", "0"], ["`steps`", "0", "from 1"]),
    (["check-env", "matrix/peak", "--seed", "-1"], ["`seed`", "-1"]),
    (["check-env", "matrix/peak", "--seconds", "-1"], ["`seconds`", "-1"]),
    (["check-env", "matrix/peak", "--preset", "nope"], ["`preset`", "nope", "seca"]),
    (["check-env", "matrix/peak", "--json=3"], ["3"]),
    (["envs", "smac"], ["smac"]),
    (["algos", "--all"], ["--all"]),
    (["doctor", "now"], ["now"]),
    ([""], ["`command`", "''", "train", "doctor"]),
    (["--verbose"], ["`command`", "--verbose", "train", "doctor"]),
    (["Train", "seca"], ["`command`", "Train", "train"]),
    (["train", ""], ["`preset`", "''", "seca-paper"]),
    (["train", "seca", "--env", ""], ["`env`", "''", "seca train --help"]),
    (["train", "seca", "--env="], ["`env`", "''", "seca train --help"]),
    ([*TRAIN, "--out", ""], ["`out`", "''", "leave it out"]),
    ([*TRAIN, "--out", LONG], ["`out`", LONG[:100], "too long"]),
    ([*TRAIN, "--out", "no\0thing"], ["`out`", "character that no path can"]),
    ([*TRAIN, "--seed", ""], ["`seed`", "''"]),
    ([*TRAIN, "--seed", "9" * 5000], ["--seed", "9" * 50]),
    ([*TRAIN, "--eval-interval", "1e30"], ["`eval_interval`", "from 1 to 4000000000"]),
    ([*TRAIN, "--runners", "65536", "--devices", "65536"], ["`devices`", "65536", "from 0 to 1024"]),
    ([*TRAIN, "--env-options", ""], ["`env-options`", "''"]),
    ([*TRAIN, "--env-options", "a="], ["`env-options`", "a=", "key=value"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", f"reward_win={10**400}"], ["reward_win", "64 bits"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", "reward_win=1e999"], ["`reward_win`", "inf", "finite"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", "jitter=7"], ["`jitter`", "True or False", "7"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", "opponent=nope"], ["`opponent`", "nope", "scripted"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", "opponent=occupied"], ["`opponent`", "not a run folder"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", "opponent=occupied/file.txt"], ["`opponent`", "file.txt"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", f"opponent={LONG}"], ["`opponent`", "too long"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", "opponent=3"], ["`opponent`", "a name", "3"]),
    (["train", "seca", "--env", "smac:"], ["`env`", "scenario file", "directory"]),
    (["train", "seca", "--env", "smac:absent.toml"], ["`env`", "absent.toml", "No such file"]),
    (["train", "seca", "--env", f"smac:{LONG}"], ["`env`", "too long"]),
    (["train", "seca", "--env", "smac:no\0thing"], ["`env`", "cannot be read", "null"]),
    (["train", "seca", "--env", LONG], ["`env`", LONG[:100], "does not exist"]),
    (["train", "seca", "--env", "python:"], ["`env`", "python:", "python:MODULE.FUNCTION"]),
    (["train", "seca", "--env", "python:..up"], ["`env`", "..up", "python:MODULE.FUNCTION"]),
    (["train", "seca", "--env", "python:platform.machine"], ["`env`", "platform.machine", "returns str"]),
    (["train", "seca", "--env", "python:platform.sys"], ["`env`", "platform.sys", "module", "function"]),
    (["train", "--config", ""], ["`config`", "''"]),
    (["train", "--config="], ["`config`", "''"]),
    (["train", "--config", LONG], ["`config`", "too long"]),
    (["train", "--config", "loop"], ["`config`", "loop", "symbolic links"]),
    (["train", "--config", "pipe"], ["`config`", "pipe", "not a regular file"]),
    (["train", "--config", "/dev/zero"], ["`config`", "/dev/zero", "not a regular file"]),
    (["train", "seca", "--env", "smac:pipe"], ["`env`", "pipe", "not a regular file"]),
    (["train", "seca", "--env", "smac:/dev/zero"], ["`env`", "/dev/zero", "not a regular file"]),
    (["train", "seca", "--env", "smac:loop"], ["`env`", "loop", "symbolic links"]),
    (["resume", ""], ["`resume`", "''"]),
    (["resume", LONG], ["`run`", "too long"]),
    (["resume", "loop"], ["`run`", "loop", "symbolic links"]),
    (["resume", "occupied/file.txt"], ["`run`", "occupied/file.txt", "no such folder"]),
    (["resume", "absent", "absent2"], ["absent2"]),
    (["evaluate"], ["RUN", "required"]),
    (["audit"], ["RUN", "required"]),
    (["audit", "absent"], ["`run`", "absent", "no such folder"]),
    (["audit", "absent", "--steps", "0"], ["`steps`", "0", "from 1 to 100000"]),
    (["audit", "absent", "--forks", "0"], ["`forks`", "0", "from 2 to 1000000"]),
    (["audit", "absent", "--forks", "1"], ["`forks`", "1", "from 2 to 1000000"]),
    (["audit", "absent", "--forks", "many"], ["--forks", "many", "whole number"]),
    (["audit", "absent", "--seed", "-1"], ["`seed`", "-1"]),
    (["audit", "absent", "--truth", "luck"], ["`truth`", "luck", "counterfactual", "shapley"]),
    (["audit", "absent", "--credits", "luck"], ["`credits`", "luck", "swept", "shapley"]),
    (["audit", "absent", "--credits", "swept", "swept"], ["`credits`", "swept", "twice"]),
    (["audit", "absent", "--order", "luck"], ["`order`", "luck", "gradients", "random"]),
    (["audit", "absent", "--checkpoint", "oldest"], ["--checkpoint", "oldest", "latest", "best"]),
    (["audit", "absent", "--out", ""], ["`out`", "''"]),
    (["audit", "absent", "--add", "yes"], ["yes"]),
    (["audit", "absent", "--json", "yes"], ["yes"]),
    (["audit", "occupied"], ["`run`", "occupied", "not a run folder"]),
    (["evaluate", "pipe"], ["`run`", "pipe", "no such folder"]),
    (["evaluate", "absent", "--checkpoint", "oldest"], ["--checkpoint", "oldest", "latest", "best"]),
    (["evaluate", "absent", "--opponent", ""], ["`opponent`", "''"]),
    (["evaluate", "absent", "--json", "yes"], ["yes"]),
    (["evaluate", "absent", "--absolute", "yes"], ["yes"]),
    (["evaluate", "absent", "--episodes", "few"], ["--episodes", "few", "whole number"]),
    (["plot", ""], ["`plot`", "''"]),
    (["plot", "absent", "--out", ""], ["`out`", "''"]),
    (["plot", "absent", "--out", LONG], ["`out`", "too long"]),
    (["plot", "occupied/file.txt"], ["`run`", "occupied/file.txt", "no such folder"]),
    (["plot", "loop"], ["`run`", "loop", "symbolic links"]),
    (["watch", ""], ["`watch`", "''"]),
    (["watch", "pipe"], ["`recording`", "pipe", "no such file"]),
    (["watch", "loop"], ["`recording`", "loop", "symbolic links"]),
    (["watch", LONG], ["`recording`", "too long"]),
    (["watch", "--policy", ""], ["`policy`", "''"]),
    (["watch", "--policy", LONG], ["`policy`", "too long"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--out", LONG + ".gif"], ["`out`", "too long"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--fps", "fast"], ["--fps", "fast", "whole number"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--checkpoint", "1"], ["`checkpoint`", "1", "random"]),
    (["watch", "--policy", "random", "--checkpoint", "1.5"], ["--checkpoint", "1.5", "whole number", "latest"]),
    (["watch", "--policy", "random", "--env", "smac:pipe"], ["`env`", "pipe", "not a regular file"]),
    (["bench", "--seconds", "nan"], ["`seconds`", "nan"]),
    (["bench", "--seconds", "soon"], ["--seconds", "soon"]),
    (["bench", "--batch", "1048577"], ["`batch`", "1048577", "1048576"]),
    (["bench", "--json=3"], ["3"]),
    (["bench", "--env", ""], ["`env`", "''"]),
    (["bench", "simulator", "--env", "smac:absent.toml"], ["`env`", "absent.toml"]),
    (["envs", ""], ["`envs`", "''"]),
    (["doctor", "--fix"], ["--fix"]),
]


def _spoiled(config: Any, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """For every option of a record, and of records inside it, a word with a value that it cannot take."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        option = f"--{prefix}{field.name}".replace("_", "-")
        kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
        if dataclasses.is_dataclass(value):
            yield from _spoiled(value, f"{prefix}{field.name}.")
        elif typing.get_origin(hint) is typing.Literal:
            yield f"{option}=nope", [option, "nope", typing.get_args(hint)[0]]
        elif bool in kinds:
            yield f"{option}=maybe", ["maybe"]
        elif int in kinds:
            yield f"{option}=0", [f"`{prefix}{field.name}`", "0", "from 1 to"]
        else:
            yield f"{option}=-1", [f"`{prefix}{field.name}`", "-1.0"]


def _families() -> dict[tuple[type, ...], str]:
    """Kinds of options, and of the records inside them, with the first preset of each."""
    found: dict[tuple[type, ...], str] = {}
    for name, preset in PRESETS.items():
        inner = [getattr(preset.config, field.name) for field in dataclasses.fields(preset.config)]
        kinds = (type(preset.config), *(type(value) for value in inner if dataclasses.is_dataclass(value)))
        found.setdefault(kinds, name)
    return found


def _of_algorithms() -> list[tuple[list[str], list[str]]]:
    """Every option of every family; what families that differ in their mixer only have in common, once."""
    known: dict[tuple[type, str], tuple[list[str], list[str]]] = {}
    for name in _families().values():
        config = PRESETS[name].config
        for word, fragments in _spoiled(config):
            kind: Any = vars(config)["mixing"] if word.startswith("--mixing.") else config
            known.setdefault((type(kind), word), (["train", name, "--env", "matrix/peak", word], fragments))
    return list(known.values())


OF_ALGORITHMS = _of_algorithms()


@pytest.mark.parametrize(("arguments", "fragments"), INPUTS, ids=lambda part: ascii(" ".join(part))[1:-1][:60])
def test_arguments(
    arguments: list[str], fragments: list[str], desk: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(arguments, fragments, desk, capsys)


@pytest.mark.parametrize(("arguments", "fragments"), OF_ALGORITHMS, ids=lambda part: " ".join(part)[:60])
def test_options_of_algorithms(
    arguments: list[str], fragments: list[str], desk: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(arguments, fragments, desk, capsys)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("train", RunConfig),
        ("train", LoopConfig),
        ("resume", ResumeOptions),
        ("evaluate", EvaluateOptions),
        ("audit", AuditOptions),
        ("plot", PlotOptions),
        ("watch", WatchOptions),
        ("view", ViewOptions),
        ("bench", BenchOptions),
        ("check-env", CheckEnvOptions),
    ],
    ids=str,
)
def test_every_option_has_a_bad_value(command: str, options: type) -> None:
    """Those of algorithms have one by their making; what is given without a name, each command has."""
    given = {word.partition("=")[0] for arguments, _ in INPUTS if arguments[0] == command for word in arguments[1:]}
    unnamed = {"run", "runs", "recording", "what", "preset", "loop", "algorithm", "adaptation"}
    unnamed = {"bench": {"what"}, "check-env": {"env"}}.get(command, unnamed)
    named = {field.name for field in dataclasses.fields(options)} - unnamed
    assert {f"--{name}".replace("_", "-") for name in named} - given == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["train", "seca", "--env", "smac/2s3zz"], ["`env`", "smac/2s3zz", "smac/2s3z"]),
        (["train", "seca", "--steps", "-1"], ["`steps`", "-1"]),
        (["train", "seca", "--order", "nope"], ["--order", "nope", "gradients"]),
        (["evaluate", "absent"], ["`run`", "absent"]),
    ],
    ids=lambda part: " ".join(part)[:40],
)
def test_in_a_process_of_its_own(arguments: list[str], fragments: list[str], seca, desk: pathlib.Path) -> None:
    ended = seca(*arguments, cwd=desk)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert_one_line(ended.stderr, fragments)
