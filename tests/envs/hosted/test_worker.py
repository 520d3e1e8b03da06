"""A worker's process answers lines by lines; its memory and its end are in `test_pool`."""

import json
import os
import subprocess
import sys
import tempfile

from hosted_games import count

from seca.envs.hosted import worker


def asked(*lines: dict) -> list[dict]:
    """What it answers, in a process of its own, as it is started without a pool."""
    questions, answers = os.pipe(), os.pipe()
    path = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryFile() as memory:
        memory.truncate(4096)
        handed = (questions[0], answers[1], memory.fileno())
        command = [sys.executable, "-m", "seca.envs.hosted.worker", *map(str, handed)]
        with subprocess.Popen(command, pass_fds=handed, env=os.environ | {"PYTHONPATH": path}) as process:
            os.close(questions[0])
            os.close(answers[1])
            with os.fdopen(questions[1], "w") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
            with os.fdopen(answers[0]) as file:
                found = [json.loads(line) for line in file]
            assert process.wait(20) == 0
    return found


def test_questions_and_answers() -> None:
    recipe = {"kind": "python", "name": "hosted_games.count", "options": [["length", 2], ["at", 2], ["then", "raise"]]}
    found = asked(
        recipe,
        {"do": "room", "lanes": 2},
        {"do": "reset", "lanes": [0, 1]},
        {"do": "step", "lanes": [0, 1]},
        {"do": "step", "lanes": [1]},
    )
    fine = {"lost": {}, "broken": ""}
    assert found[:4] == [json.loads(json.dumps(worker.described(count(length=2)))), {}, fine, fine]
    assert list(found[4]["lost"]) == ["1"] and "the game is gone" in found[4]["lost"]["1"]


def test_what_cannot_be_made() -> None:
    recipe = {"kind": "python", "options": []}
    assert asked(recipe | {"name": "hosted_games.refused"})[0]["refused"].startswith("`env-options` speak of colours")
    assert asked(recipe | {"name": "hosted_games.missing"})[0]["failed"].startswith("RuntimeError: no display")
