"""Win rates of scripted teams on every map, as JSON lines and a markdown table.

    python benchmarks/scripted_matches.py --battles 1000 --out scripted_matches

Rows are scripts that command the agents: those of `seca.smac.scripts`, SMAC's heuristic without `heuristic_rest`
(`heuristic_ai`: attacks its target wherever it is), and the enemy's own rules (`attack_move`: to the enemies' spawn
point, looking for targets in every loop). Results are written as they come; a second call goes on where one stopped.
Each row holds the version of its map, and rows of other versions are left out and made again.
"""

import argparse
import functools
import json
import pathlib
import time
from collections.abc import Callable

import jax
from jaxtyping import Array

from seca.smac import reward, scenario, scripts, simulator, tick
from seca.smac.opponent import Opponent, attack_move, order_to_point
from seca.smac.state import Battle
from seca.types import PyTree

BATCH = 250
TEAMS = (*scripts.SCRIPTS, "heuristic_ai", "attack_move")


def fight(battles: simulator.Simulator, ally: str, keys: Array) -> Battle:
    """Battles to their end."""
    field = battles.battlefield
    battle, _ = battles.reset(keys)
    opponent = with_attack_move(battles.commander) if ally == "attack_move" else battles.commander
    if ally == "attack_move":
        enemies = (float(field.spawn_x[field.n_agents, 0]), float(field.spawn_y[field.n_agents, 0]))
        battle = order_to_point(field, battle, 0, field.n_agents, enemies)
    script = scripts.SCRIPTS["heuristic" if ally not in scripts.SCRIPTS else ally]
    step = functools.partial(one_step, battles, ally, opponent)
    first = (battle, script.init(field, keys.shape[0]))
    return jax.lax.while_loop(lambda carry: ~(carry[0].terminated | carry[0].truncated).all(), step, first)[0]


def one_step(
    battles: simulator.Simulator, ally: str, opponent: Opponent, carry: tuple[Battle, PyTree]
) -> tuple[Battle, PyTree]:
    """One env step."""
    field, options, (battle, mind) = battles.battlefield, battles.options, carry
    if ally == "attack_move":
        ordered = battle
    elif ally == "heuristic_ai":
        mind, ordered = scripts.heuristic_orders(field, battle, mind)
    else:
        mind, taken = scripts.SCRIPTS[ally].act(field, battle, mind)
        return tick.step(field, options, battle, taken, opponent)[0], mind
    return tick.advance(field, options, battle, ordered, opponent)[0], mind


def with_attack_move(opponent: Opponent) -> Opponent:
    """The opponent, while the agents too look for targets in every loop."""

    def act(field, battle):
        return attack_move(field, opponent.act(field, battle), 0, field.n_agents)

    return Opponent(opponent.init, act, opponent.decide)


def measure(name: str, ally: str, enemy: str, n_battles: int) -> dict[str, str | int | float]:
    """Shares of `n_battles` won, lost, drawn (nobody left) and timed out."""
    battles = simulator.make(name, opponent=enemy)
    play: Callable[[Array], Battle] = jax.jit(functools.partial(fight, battles, ally))
    counts = dict.fromkeys(("won", "lost", "drawn", "timed_out"), 0)
    steps, began = 0, time.perf_counter()
    for part in range(n_battles // BATCH):
        battle = play(jax.random.split(jax.random.key(part), BATCH))
        end = reward.outcome(battles.battlefield, battle.units)
        counts["won"] += int(battle.won.sum())
        counts["lost"] += int((battle.terminated & end.lost).sum())
        counts["drawn"] += int((battle.terminated & ~end.lost & ~end.won).sum())
        counts["timed_out"] += int(battle.truncated.sum())
        steps += int(battle.steps.sum())
    shares = {outcome: count / n_battles for outcome, count in counts.items()}
    about = {"map": name, "version": battles.battlefield.version, "ally": ally, "enemy": enemy}
    about |= {"battles": n_battles, "steps_mean": steps / n_battles}
    return about | shares | {"seconds": round(time.perf_counter() - began, 1)}


def table(rows: list[dict]) -> str:
    """Markdown: win rates in percent, a line per map, a column per team."""
    maps = list(dict.fromkeys(row["map"] for row in rows))
    teams = [team for team in TEAMS if any(row["ally"] == team for row in rows)]
    won = {(row["map"], row["ally"]): f"{100 * row['won']:.1f}" for row in rows}
    version = {row["map"]: row["version"] for row in rows}
    lines = ["| map | version | " + " | ".join(teams) + " |", "|---|---:|" + "---:|" * len(teams)]
    lines += [
        f"| {name} | {version[name]} | " + " | ".join(won.get((name, team), "") for team in teams) + " |"
        for name in maps
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is not in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", nargs="+", default=list(scenario.map_names()), choices=scenario.map_names())
    parser.add_argument("--teams", nargs="+", default=list(TEAMS), choices=TEAMS)
    parser.add_argument("--enemy", default="scripted", choices=scripts.OPPONENTS)
    parser.add_argument("--battles", type=int, default=1000, help=f"per map and team, a multiple of {BATCH}")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("scripted_matches"))
    asked = parser.parse_args()
    if asked.battles < BATCH or asked.battles % BATCH:
        parser.error(f"`battles` must be a positive multiple of {BATCH}, got {asked.battles}")
    lines, page = asked.out.with_suffix(".jsonl"), asked.out.with_suffix(".md")
    rows = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    version = functools.cache(lambda name: scenario.load(name).version)
    rows = [row for row in rows if row["version"] == version(row["map"])]
    for name in asked.maps:
        for team in asked.teams:
            key = (name, team, asked.enemy, asked.battles)
            if key in {(row["map"], row["ally"], row["enemy"], row["battles"]) for row in rows}:
                continue
            rows.append(measure(name, team, asked.enemy, asked.battles))
            print(json.dumps(rows[-1]), flush=True)
            with lines.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            chosen = [row for row in rows if (row["enemy"], row["battles"]) == (asked.enemy, asked.battles)]
            page.write_text(table(chosen))


if __name__ == "__main__":
    main()
