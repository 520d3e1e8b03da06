"""A worker's own process: `python -m seca.envs.hosted.worker ASKED ANSWERS BLOCK`, three file descriptors.

A line of JSON asks, a line of JSON answers; numbers go through the block of memory. Nothing is unpickled. When whoever
started it is gone, what it reads ends, and so does it.
"""

import dataclasses
import json
import mmap
import os
import signal
import sys
import threading
import time
from typing import Any

from seca.envs.hosted import arrays as blocks
from seca.envs.hosted import kinds
from seca.envs.hosted.lanes import Lanes, Recipe
from seca.envs.hosted.single import Broken, Single
from seca.errors import told


def main() -> None:
    """Answer until there are no more questions."""
    asked, answers, block = (int(number) for number in sys.argv[1:4])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it.
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    with os.fdopen(asked, "r") as questions, os.fdopen(answers, "w", buffering=1) as replies:

        def say(**words: Any) -> None:
            replies.write(json.dumps(words) + "\n")

        first = json.loads(questions.readline())
        recipe = Recipe(first["kind"], first["name"], tuple((name, value) for name, value in first["options"]))
        try:
            env = kinds.make(recipe)
        except ValueError as error:
            say(refused=" ".join(str(error).split()))
            return
        except Broken as error:
            say(broken=str(error))
            return
        except (Exception, SystemExit) as error:
            say(failed=told(error))
            return
        say(**described(env))
        lanes: Lanes | None = None
        for line in questions:
            question = json.loads(line)
            if question["do"] == "room":
                of = blocks.layout(env.spec, question["lanes"])
                memory = mmap.mmap(block, blocks.size(of))
                lanes = Lanes(lambda: kinds.make(recipe), env, blocks.views(memory, of))
                say()
            else:
                assert lanes is not None
                reply = lanes.do(question["do"], question["lanes"])
                say(lost={str(lane): words for lane, words in reply.lost.items()}, broken=reply.broken)
        if lanes is None:
            env.close()
        else:
            lanes.close()


def _leave_with(parent: int) -> None:
    """End this process and the games it started once its parent is gone, also where an env step hangs."""
    while os.getppid() == parent:
        time.sleep(1.0)
    time.sleep(LEAVE_SECONDS)
    os.killpg(0, signal.SIGKILL)


LEAVE_SECONDS = 3.0
"""How long environments may take to be closed."""


def described(env: Single) -> dict[str, Any]:
    """What there is to know of an environment, as JSON has it."""
    return {"spec": dataclasses.asdict(env.spec), "wins": env.wins}


if __name__ == "__main__":
    main()
